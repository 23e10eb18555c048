// Images made in the page from the visible objects: cut-outs to copy, an overlay, another background.
import { lighter, pathOf } from "./draw.js";
import { maskOf, nameOf, selectedObject } from "./state.js";
import { $, say, toast } from "./ui.js";

const COARSE = 40; // downscaling factor that blurs the background

export function startPictures(app) {
  const shown = () => app.history.present.objects.filter((o) => o.visible && maskOf(o)?.area);

  function blank(width, height) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) });
    return [canvas, canvas.getContext("2d")];
  }
  const whole = () => blank(app.photo.width, app.photo.height);

  /** The selected object, or all visible ones, cropped, on a transparent background. */
  function cutout() {
    const selected = selectedObject(app.history.present), chosen = selected && maskOf(selected)?.area ? [selected] : shown();
    const boxes = chosen.map((o) => maskOf(o).bbox), x = Math.min(...boxes.map((b) => b[0])), y = Math.min(...boxes.map((b) => b[1]));
    const [canvas, c] = blank(Math.max(...boxes.map((b) => b[0] + b[2])) - x, Math.max(...boxes.map((b) => b[1] + b[3])) - y);
    c.translate(-x, -y);
    keep(c, chosen);
    return canvas;
  }

  /** Draw the photo inside the objects. */
  function keep(c, objects) {
    for (const o of objects) {
      c.save();
      c.clip(pathOf(maskOf(o)), "evenodd");
      c.drawImage(app.photo.bitmap, 0, 0);
      c.restore();
    }
  }

  const KINDS = {
    overlay() {
      const [canvas, c] = whole(), unit = Math.max(canvas.width, canvas.height) / 700;
      c.drawImage(app.photo.bitmap, 0, 0);
      c.lineJoin = "round";
      for (const o of shown()) {
        const path = pathOf(maskOf(o));
        c.globalAlpha = app.opacity;
        c.fillStyle = o.color;
        c.fill(path, "evenodd");
        c.globalAlpha = 1;
        c.strokeStyle = lighter(o.color);
        c.lineWidth = Math.max(1, 1.5 * unit);
        c.stroke(path);
      }
      return canvas;
    },
    blur() {
      const [canvas, c] = whole(), [small, s] = blank(canvas.width / COARSE, canvas.height / COARSE);
      s.imageSmoothingQuality = "high";
      s.drawImage(app.photo.bitmap, 0, 0, small.width, small.height);
      c.imageSmoothingQuality = "high";
      c.drawImage(small, 0, 0, canvas.width, canvas.height);
      keep(c, shown());
      return canvas;
    },
    white() {
      const [canvas, c] = whole();
      c.fillStyle = "#fff";
      c.fillRect(0, 0, canvas.width, canvas.height);
      keep(c, shown());
      return canvas;
    },
  };

  const fileOf = (canvas) => new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("no picture"))), "image/png"));

  async function copy() {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": fileOf(cutout()) })]);
      const o = selectedObject(app.history.present);
      toast(o ? `${nameOf(o)} was copied to the clipboard.` : "The cut-out was copied to the clipboard.");
    } catch {
      toast("This browser does not allow copying to the clipboard; download the cut-outs instead.", "error");
    }
  }

  for (const button of document.querySelectorAll("[data-picture]")) {
    button.addEventListener("click", async () => {
      if (!shown().length) return toast("There is no object yet; click on one first.");
      if (button.dataset.picture === "copy") return copy();
      const content = await fileOf(KINDS[button.dataset.picture]()), link = document.createElement("a");
      link.href = URL.createObjectURL(content);
      link.download = `${app.photo.name.replace(/\.[^.]*$/, "")}.${button.dataset.picture}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      $("export-dialog").close();
      return say(`Downloaded ${link.download}.`);
    });
  }
}
