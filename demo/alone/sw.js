// Service worker: caches the page for offline use, and adds the cross-origin isolation headers that threads require.
// VERSION and FILES are filled in when the folder is written.
const VERSION = "@VERSION@";
const FILES = ["@FILES@"];
const PAGE = `sam-hub-page-${VERSION}`;

addEventListener("install", (event) => {
  const keep = async () => {
    const cache = await caches.open(PAGE);
    await cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })));
    await skipWaiting();
  };
  event.waitUntil(keep());
});

addEventListener("activate", (event) => {
  const clear = async () => {
    for (const name of await caches.keys()) if (name.startsWith("sam-hub-page-") && name !== PAGE) await caches.delete(name);
    await clients.claim();
  };
  event.waitUntil(clear());
});

addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  event.respondWith(answer(event.request));
});

async function answer(request) {
  const kept = await (await caches.open(PAGE)).match(request, { ignoreSearch: true });
  const found = kept ?? (await fetch(request));
  if (!found.ok || found.type === "opaque") return found;
  const headers = new Headers(found.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  headers.set("cross-origin-resource-policy", "same-origin");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
