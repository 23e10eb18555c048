// Who computes: a worker in this browser. See the file of this name in a page with a server.
export { local as compute } from "../alone/client.js";
import { keepOffline } from "../alone/offline.js";

keepOffline();
