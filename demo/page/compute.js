// Who computes: the one thing behind the page. Here it is the server; a page without one has another file of this name.
//
// Photos are known by an id. `onEvent` gets {stage, ...} while something is done; every call may throw a `Failure`,
// with status 410 where the photo is known no more and has to be sent again.
//   about()                                       {version, privacy, models, default, searches, limits}
//   encode(blob, model, onEvent, signal)          {id, width, height, model, device, tidy, encode_ms}
//   encodeAgain(id, model, onEvent, signal)       the same, of a photo that is known, which gets a new id
//   bitmap(id)                                    ImageBitmap, of a photo that the browser itself could not read
//   preview(id, prompt)                           {path, score, decode_ms}
//   segment(id, prompt, onEvent)                  {result, best, masks, decode_ms}, after {stage: "shown", path, ...}
//   everything(id, preset, tidy, onEvent, signal) {masks, ms}
//   words(id, text, onEvent, signal)              {masks} with {name, box}; only where about() says `words`
//   importFile(id, text)                          {objects}
//   exportFile(id, fileName, objects, formats)    {name, content: Blob}
export { server as compute } from "./server.js";
