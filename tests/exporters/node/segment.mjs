// node segment.mjs FOLDER PHOTO OUT DTYPE < prompts.json: transformers.js, as its documentation uses it.
// Writes OUT (sizes and scores of each prompt) and OUT.0, OUT.1, ... (masks, one byte a pixel).
import fs from 'node:fs';
import path from 'node:path';
import { AutoProcessor, RawImage, Sam2Model, SamModel, env } from '@huggingface/transformers';

const [folder, photo, out, dtype] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder) + '/';
const name = path.basename(folder);
const { model_type } = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
const model = await { sam: SamModel, sam2: Sam2Model }[model_type].from_pretrained(name, { dtype });
const processor = await AutoProcessor.from_pretrained(name);
const image = await RawImage.read(photo);
const embeddings = await model.get_image_embeddings(await processor(image));
const found = [];
for (const { points, labels } of JSON.parse(fs.readFileSync(0, 'utf8'))) {
  const inputs = await processor(image, { input_points: [[points]], input_labels: [[labels]] });
  const { input_points, input_labels } = inputs;
  const outputs = await model({ ...embeddings, input_points, input_labels });
  const [masks] = await processor.post_process_masks(
    outputs.pred_masks, inputs.original_sizes, inputs.reshaped_input_sizes);
  fs.writeFileSync(`${out}.${found.length}`, Buffer.from(masks.data));
  found.push({ dims: masks.dims, scores: Array.from(outputs.iou_scores.data) });
}
fs.writeFileSync(out, JSON.stringify(found));
