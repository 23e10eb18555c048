// Replaces `page/compute.js` in the page without a server: a worker in this browser runs the model.
export { local as compute } from "../alone/client.js";
import { keepOffline } from "../alone/offline.js";

keepOffline();
