// Registers the service worker, which makes the page work offline.

export function keepOffline() {
  if (!navigator.serviceWorker || !isSecureContext) return;
  addEventListener("load", () => {
    navigator.serviceWorker.register(new URL("../sw.js", import.meta.url)).catch((e) => console.warn("not kept for offline use:", e.message));
  });
}
