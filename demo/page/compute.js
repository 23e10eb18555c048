// Whatever runs the model. Here it is the server; the page without a server replaces this file.
//
// Photos are identified by an id. `onEvent` receives progress as {stage, ...}. Every call may throw a `Failure`; status 410
// means that the photo has been dropped and must be sent again.
//   about()                                       {version, privacy, models, default, searches, limits}
//   encode(blob, model, onEvent, signal)          {id, width, height, model, device, tidy, encode_ms}
//   encodeAgain(id, model, onEvent, signal)       the same for a photo already sent; it gets a new id
//   bitmap(id)                                    ImageBitmap of a photo that the browser cannot decode
//   preview(id, prompt)                           {path, score, decode_ms}
//   segment(id, prompt, onEvent)                  {result, best, masks, decode_ms}, after {stage: "shown", path, ...}
//   everything(id, preset, tidy, onEvent, signal) {masks, ms}
//   words(id, text, onEvent, signal)              {masks} with {name, box}; only if about() has `words`
//   importFile(id, text)                          {objects}
//   exportFile(id, fileName, objects, formats)    {name, content: Blob}
export { server as compute } from "./server.js";
