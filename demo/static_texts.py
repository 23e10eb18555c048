"""Texts written next to the page without a server: headers, the README of a Space, a sample for nginx."""

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
)
"""Content security policy: nothing is loaded from, or sent to, other origins."""

HEADERS = f"""<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="referrer" content="no-referrer">
<meta name="theme-color" content="#2e90ff">
<meta name="apple-mobile-web-app-capable" content="yes">
<link rel="manifest" href="manifest.webmanifest">
<link rel="apple-touch-icon" href="page/icon-192.png">"""

WEB_MANIFEST = {
    "name": "sam-hub: segment anything",
    "short_name": "sam-hub",
    "description": "Cut objects out of photos by pointing at them.",
    "id": "./",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#ffffff",
    "theme_color": "#2e90ff",
    "icons": [
        {"src": "page/icon-192.png", "sizes": "192x192", "type": "image/png", "purpose": "any maskable"},
        {"src": "page/icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "any maskable"},
        {"src": "page/icon.svg", "sizes": "any", "type": "image/svg+xml"},
    ],
}

NGINX = f"""# For nginx: compression, and the headers that browsers require for threads.
location /sam-hub/ {{
    alias /srv/sam-hub/;
    types {{
        text/html html; text/css css; text/javascript js mjs; application/json json;
        application/manifest+json webmanifest; image/svg+xml svg; image/jpeg jpg; image/png png;
        application/wasm wasm; application/octet-stream onnx;
    }}
    gzip on;
    gzip_types text/css text/javascript application/json application/wasm application/octet-stream image/svg+xml;
    add_header Cross-Origin-Opener-Policy same-origin always;
    add_header Cross-Origin-Embedder-Policy require-corp always;
    add_header Content-Security-Policy "{POLICY}; frame-ancestors 'self'" always;
    add_header Cache-Control no-cache always;
}}
"""

SPACE_MODELS = "- {name} ({megabytes} MB)"

README = """---
title: sam-hub
emoji: ✂️
colorFrom: blue
colorTo: gray
sdk: static
app_file: index.html
license: apache-2.0
short_description: Point at things in photos and cut them out
custom_headers:
  cross-origin-embedder-policy: require-corp
  cross-origin-opener-policy: same-origin
  cross-origin-resource-policy: cross-origin
---

# sam-hub, entirely in the browser

Segment anything by pointing at it. The model runs in the visitor's browser: photos never leave the device, and after
the first visit the page works without a network. Any web server can serve this folder, from any path, over HTTPS.

Models:

{list}

`runtime/` holds onnxruntime-web (MIT, Microsoft). `nginx.conf` shows the headers that allow threads; without them the
page's service worker sets them from the second visit on. Written by `sam-hub demo --static` {version}.
"""
