// Opening photos by choosing, dropping or pasting; importing and exporting annotations.
import { compute } from "./compute.js";
import { addMasks, maskOf, newOnes } from "./state.js";
import { $, say, toast } from "./ui.js";

export function startFiles(app) {
  const photoInput = $("photo-file"), importInput = $("import-file"), dialog = $("export-dialog");

  app.openDialog = () => photoInput.click();
  app.importDialog = () => (app.photo?.id ? importInput.click() : toast("Open the photo first, then its annotation file."));
  $("open").addEventListener("click", app.openDialog);
  $("choose").addEventListener("click", app.openDialog);
  $("import").addEventListener("click", app.importDialog);
  photoInput.addEventListener("change", () => {
    if (photoInput.files[0]) app.open(photoInput.files[0], photoInput.files[0].name);
    photoInput.value = "";
  });
  importInput.addEventListener("change", () => {
    if (importInput.files[0]) read(importInput.files[0]);
    importInput.value = "";
  });
  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", async () => {
      const name = button.dataset.example;
      app.open(await (await fetch(`page/${name}`)).blob(), name.replace("example-", ""));
    });
  }

  addEventListener("paste", (e) => {
    const file = [...(e.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
    if (file) app.open(file, file.name || "pasted");
  });
  let inside = 0;
  addEventListener("dragenter", (e) => {
    if (![...(e.dataTransfer?.types ?? [])].includes("Files")) return;
    inside++;
    $("drop").hidden = false;
  });
  addEventListener("dragleave", () => {
    inside = Math.max(0, inside - 1);
    $("drop").hidden = inside === 0;
  });
  addEventListener("dragover", (e) => e.preventDefault());
  addEventListener("drop", (e) => {
    e.preventDefault();
    inside = 0;
    $("drop").hidden = true;
    const file = e.dataTransfer?.files[0];
    if (!file) return;
    if (file.name.endsWith(".json")) read(file);
    else app.open(file, file.name);
  });

  async function read(file) {
    if (!app.photo) return toast("Open the photo first, then its annotation file.");
    try {
      const document = await file.text();
      const { objects } = await app.withPhoto(() => compute.importFile(app.photo.id, document));
      const fresh = newOnes(app.history.present, objects), known = objects.length - fresh.length;
      if (fresh.length) app.edit(addMasks(app.history.present, fresh, "file"));
      app.show("objects");
      toast(`${objectsOf(fresh.length)} imported${known ? `; ${objectsOf(known)} ${known === 1 ? "was" : "were"} there already` : ""}.`);
    } catch (e) {
      app.fail(e);
    }
  }

  const objectsOf = (n) => `${n} object${n === 1 ? "" : "s"}`;
  const chosen = () => [...$("formats").querySelectorAll("input:checked")].map((box) => box.value);
  const exported = () => app.history.present.objects.filter((o) => maskOf(o)?.area);
  function describe() {
    const formats = chosen(), many = formats.length > 1 || formats.includes("yolo") || formats.includes("labelstudio") || (exported().length > 1 && formats.some((f) => f === "masks" || f === "cutouts"));
    $("export-go").disabled = !formats.length;
    $("export-what").textContent = !formats.length ? "Choose a format." : many ? "You get one ZIP." : "You get one file.";
  }
  $("formats").addEventListener("change", describe);
  app.exportDialog = () => {
    const count = exported().length;
    if (!count) return toast("There is no object yet; click on one first.");
    $("export-count").textContent = `${count} object${count > 1 ? "s" : ""} of ${app.photo.name}`;
    describe();
    dialog.returnValue = "";
    dialog.showModal();
  };
  $("export").addEventListener("click", app.exportDialog);
  dialog.addEventListener("close", async () => {
    if (dialog.returnValue !== "go") return;
    const objects = exported().map((o) => {
      const mask = maskOf(o);
      return { name: o.name, rle: mask.rle, score: mask.score ?? mask.predicted_iou, stability: mask.stability,
        points: o.points.map((p) => [p.x, p.y]), labels: o.points.map((p) => p.label), box: o.box };
    });
    try {
      const formats = chosen();
      const { name, content } = await app.withPhoto(() => compute.exportFile(app.photo.id, app.photo.name, objects, formats));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(content);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      say(`Downloaded ${name}.`);
    } catch (e) {
      app.fail(e);
    }
  });
}

/** Decode a photo for the canvas; null if the browser cannot. */
export async function decodePhoto(blob) {
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}
