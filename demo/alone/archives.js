// PNG and ZIP files, written with the browser's own compression.

let table = null;
function crc32(bytes) {
  table ??= Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
    return n;
  });
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

async function deflated(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Encode a PNG. levels: row by row, 1 (grey) or 4 (RGBA) channels, 8 bits or 16 bits big-endian */
export async function png(levels, width, height, channels, bits = 8) {
  const line = (width * channels * bits) / 8, raw = new Uint8Array(height * (line + 1)); // each row starts with its filter type, 0
  for (let y = 0; y < height; y++) raw.set(levels.subarray(y * line, (y + 1) * line), y * (line + 1) + 1);
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([bits, channels === 4 ? 6 : 0], 8);
  const chunk = (kind, data) => {
    const out = new Uint8Array(data.length + 12), numbers = new DataView(out.buffer);
    numbers.setUint32(0, data.length);
    out.set(new TextEncoder().encode(kind), 4);
    out.set(data, 8);
    numbers.setUint32(data.length + 8, crc32(out.subarray(4, data.length + 8)));
    return out;
  };
  const parts = [new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", header), chunk("IDAT", await deflated(raw, "deflate")), chunk("IEND", new Uint8Array())];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** A ZIP of [name, bytes] pairs; PNG and JPEG files are stored uncompressed. */
export async function zip(files) {
  const parts = [], directory = [];
  let at = 0;
  for (const [name, content] of files) {
    const path = new TextEncoder().encode(name), stored = /\.(png|jpg)$/.test(name), body = stored ? content : await deflated(content, "deflate-raw");
    const facts = new DataView(new ArrayBuffer(26)); // fields shared by the local header and the directory entry
    [20, 0x800, stored ? 0 : 8, 0, 33].forEach((v, i) => facts.setUint16(2 * i, v, true)); // 1 January 1980
    [crc32(content), body.length, content.length].forEach((v, i) => facts.setUint32(10 + 4 * i, v, true));
    facts.setUint16(22, path.length, true);
    const common = new Uint8Array(facts.buffer);
    parts.push(new Uint8Array([80, 75, 3, 4]), common, path, body);
    const end = new DataView(new ArrayBuffer(14));
    end.setUint32(10, at, true);
    directory.push(new Uint8Array([80, 75, 1, 2, 20, 0]), common, new Uint8Array(end.buffer), path);
    at += 30 + path.length + body.length;
  }
  const listing = new Uint8Array(await new Blob(directory).arrayBuffer()), end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, listing.length, true);
  end.setUint32(16, at, true);
  return new Uint8Array(await new Blob([...parts, listing, new Uint8Array(end.buffer)]).arrayBuffer());
}
