// The service worker, which keeps the page for when there is no network.

export function keepOffline() {
  if (!navigator.serviceWorker || !isSecureContext) return;
  addEventListener("load", () => {
    navigator.serviceWorker.register(new URL("../sw.js", import.meta.url)).catch((e) => console.warn("not kept for offline use:", e.message));
  });
}
