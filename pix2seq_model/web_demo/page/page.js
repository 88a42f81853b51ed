"use strict";

const byId = (id) => document.getElementById(id);
const TOKENS = 5;
const FEW_CLASSES = 24;
// Far from what the model looked at, its blue veil; at it, the image under a warm light.
const RAMP = [[0, [20, 24, 70], 0.62], [0.35, [120, 30, 110], 0.5], [0.7, [240, 110, 50], 0.42], [1, [255, 235, 110], 0.42]];

let limits = null;
let answer = null;
let asked = 0; // Counts the images, so that a late answer to an earlier one is not shown.
let pointedAt = null;
let shownName = "image";

fetch("model").then((reply) => reply.json()).then((model) => {
  limits = model;
  byId("model").textContent = model.name;
  byId("limits").textContent = `JPEG, PNG, BMP or GIF; at most ${megabytes(model.max_bytes)} and ` +
    `${Math.floor(model.max_pixels / 1e6)} million pixels. The image stays on the machine that serves this page.`;
  byId("threshold").value = model.threshold;
  showThreshold();
  const count = model.classes.length;
  byId("known").hidden = count === 0;
  byId("known").firstElementChild.textContent = `Finds ${count} ${count === 1 ? "class" : "classes"}`;
  byId("known").open = count > 0 && count <= FEW_CLASSES;
  for (const { name, color } of model.classes) {
    const item = document.createElement("li");
    item.textContent = name;
    item.style.setProperty("--color", color);
    byId("classes").append(item);
  }
  if (!model.has_attention) {
    byId("hint").textContent = "This is a served model without its model folder: it cannot show attention.";
  }
}).catch(() => complain("The server does not answer."));

byId("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = ""; // The same file may be chosen again.
});
byId("threshold").addEventListener("input", showThreshold);
byId("tokens").addEventListener("change", () => pointedAt !== null && drawHeat(pointedAt));
byId("savePicture").addEventListener("click", savePicture);
byId("saveJson").addEventListener("click", saveJson);
// Browsers give a camera to this machine's own pages and to encrypted ones alone.
byId("camera").hidden = !navigator.mediaDevices?.getUserMedia;
byId("camera").addEventListener("click", openCamera);
byId("shoot").addEventListener("click", shoot);
byId("leave").addEventListener("click", closeCamera);
// Anywhere on the page: a file dropped next to the frame would otherwise replace the page.
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files);
});

function megabytes(bytes) {
  return `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
}

function complain(text) {
  byId("status").textContent = "";
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

function clear() {
  answer = null;
  point(null);
  byId("problem").hidden = true;
  byId("result").hidden = true;
  byId("boxes").replaceChildren();
  byId("list").replaceChildren();
}

async function take(files) {
  if (!files.length) return;
  const number = ++asked;
  const file = files[0];
  closeCamera();
  clear();
  if (limits && file.size > limits.max_bytes) {
    complain(`${file.name}: the file has ${megabytes(file.size)}; the limit is ${megabytes(limits.max_bytes)}.`);
    return;
  }
  byId("status").textContent = `Looking at ${file.name} …`;
  let reply, content;
  try {
    reply = await fetch("detect", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    content = await reply.json();
  } catch (error) {
    if (number === asked) complain(`${file.name}: the server does not answer.`);
    return;
  }
  if (number !== asked) return;
  if (!reply.ok) {
    complain(`${file.name}: ${content.error}.`);
    return;
  }
  const image = byId("image");
  URL.revokeObjectURL(image.src);
  // A turned, transparent or TIFF file is not shown as the model saw it, or not at all.
  image.src = content.picture ?? URL.createObjectURL(file);
  shownName = file.name;
  image.alt = `${file.name} with the objects that were found`;
  // Known before the image is decoded: boxes are in the right place at once.
  image.width = content.width;
  image.height = content.height;
  // All of it in view, whatever its shape.
  byId("stage").style.maxWidth = `calc(78vh * ${content.width / content.height})`;
  show(content);
}

function show(content) {
  answer = content;
  const attentive = content.attention !== null;
  byId("drop").classList.add("small");
  byId("turned").hidden = !content.is_turned;
  byId("tokens").hidden = !attentive || !content.detections.length;
  byId("hint").hidden = !content.detections.length;
  content.detections.forEach((detection, index) => {
    detection.maps = attentive ? Uint8Array.from(atob(detection.attention), (c) => c.charCodeAt(0)) : null;
    byId("boxes").append(box(detection, index));
    const item = document.createElement("li");
    item.append(entry(detection, index));
    byId("list").append(item);
  });
  // Small boxes above large ones, or they could not be pointed at.
  [...byId("boxes").children]
    .sort((a, b) => area(b) - area(a))
    .forEach((button, place) => { button.style.zIndex = place; });
  byId("result").hidden = false;
  showThreshold();
}

function area(button) {
  const [, , width, height] = answer.detections[button.dataset.index].bbox;
  return width * height;
}

function box(detection, index) {
  const [x, y, width, height] = detection.bbox;
  const button = document.createElement("button");
  button.type = "button";
  button.tabIndex = -1; // The list has the same objects for the keyboard.
  button.style.left = `${100 * x / answer.width}%`;
  button.style.top = `${100 * y / answer.height}%`;
  button.style.width = `${100 * width / answer.width}%`;
  button.style.height = `${100 * height / answer.height}%`;
  button.classList.toggle("inside", y < 0.08 * answer.height);
  button.classList.toggle("right", x + width / 2 > 0.6 * answer.width);
  const tag = document.createElement("span");
  tag.textContent = label(detection);
  button.append(tag);
  return listen(button, detection, index);
}

function entry(detection, index) {
  const button = document.createElement("button");
  button.type = "button";
  for (const [name, text] of [["name", detection.category], ["score", detection.score.toFixed(2)]]) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    button.append(part);
  }
  return listen(button, detection, index);
}

function listen(button, detection, index) {
  button.dataset.index = index;
  button.style.setProperty("--color", detection.color);
  button.style.setProperty("--tag", isLight(detection.color) ? "#000" : "#fff");
  for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => point(index));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => point(null));
  return button;
}

function label(detection) {
  return `${detection.category} ${detection.score.toFixed(2)}`;
}

function isLight(color) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140; // luma, ITU-R BT.601
}

function showThreshold() {
  const least = Number(byId("threshold").value);
  byId("shown").textContent = least.toFixed(2);
  if (!answer) return;
  let shown = 0;
  answer.detections.forEach((detection, index) => {
    const visible = detection.score >= least;
    shown += visible;
    for (const button of buttons(index)) button.hidden = !visible;
  });
  const all = answer.detections.length;
  const seconds = `${answer.seconds.toFixed(2)} s`;
  byId("status").textContent = all === 0 ? `No objects found (${seconds}).`
    : `${shown} of ${all} ${all === 1 ? "object" : "objects"} shown (${seconds}).`;
}

/** The objects that are shown: those the threshold leaves. */
function shownDetections() {
  const least = Number(byId("threshold").value);
  return answer.detections.filter((detection) => detection.score >= least);
}

function saveJson() {
  const { width, height } = answer;
  const detections = shownDetections().map(({ category_id, category, bbox, score }) => ({ category_id, category, bbox, score }));
  const threshold = Number(byId("threshold").value);
  const content = { file_name: shownName, width, height, model: limits.name, threshold, detections };
  save(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }), "json");
}

async function savePicture() {
  const image = byId("image");
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = answer.width;
  canvas.height = answer.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, answer.width, answer.height);
  const line = Math.max(2, Math.round(Math.max(answer.width, answer.height) / 400));
  context.lineWidth = line;
  context.font = `600 ${6 * line}px system-ui, "DejaVu Sans", sans-serif`;
  context.textBaseline = "top";
  // The likeliest last, so that its name is not covered.
  for (const detection of shownDetections().reverse()) {
    const [x, y, width, height] = detection.bbox;
    context.strokeStyle = context.fillStyle = detection.color;
    context.strokeRect(x, y, width, height);
    const tag = { width: context.measureText(label(detection)).width + 4 * line, height: 8 * line };
    const left = Math.max(0, Math.min(x, answer.width - tag.width));
    const top = y >= tag.height ? y - tag.height : y;
    context.fillRect(left, top, tag.width, tag.height);
    context.fillStyle = isLight(detection.color) ? "#000" : "#fff";
    context.fillText(label(detection), left + 2 * line, top + line);
  }
  canvas.toBlob((blob) => blob ? save(blob, "jpg") : complain("The browser cannot make a picture of this size."), "image/jpeg", 0.92);
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${shownName.replace(/\.[^.]*$/, "")}_detections.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function openCamera() {
  closeCamera();
  try {
    // The one that looks away from the person, where there are two.
    byId("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    complain(`The camera cannot be used: ${error.message || error.name}.`);
    return;
  }
  byId("problem").hidden = true;
  byId("viewfinder").hidden = false;
}

function closeCamera() {
  for (const track of byId("video").srcObject?.getTracks() ?? []) track.stop();
  byId("video").srcObject = null;
  byId("viewfinder").hidden = true;
}

function shoot() {
  const video = byId("video");
  if (!video.videoWidth) return; // No picture has come yet.
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.95);
}

function buttons(index) {
  return document.querySelectorAll(`button[data-index="${index}"]`);
}

function point(index) {
  pointedAt = index;
  for (const button of document.querySelectorAll("button.on")) button.classList.remove("on");
  byId("boxes").classList.toggle("pointed", index !== null);
  byId("heat").classList.toggle("on", index !== null && answer.attention !== null);
  if (index === null) return;
  for (const button of buttons(index)) button.classList.add("on");
  if (answer.attention) drawHeat(index);
}

/** Draws an object's attention over the image; the map may reach beyond it into the padding. */
function drawHeat(index) {
  const { rows, columns, stretch } = answer.attention;
  const chosen = document.querySelector("input[name=token]:checked").value;
  const values = tokenMap(answer.detections[index].maps, rows * columns, chosen);
  const small = new OffscreenCanvas(columns, rows);
  const pixels = new ImageData(columns, rows);
  values.forEach((value, place) => pixels.data.set(colour(value), 4 * place));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const canvas = byId("heat");
  canvas.width = answer.width;
  canvas.height = answer.height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, answer.width * stretch[1], answer.height * stretch[0]);
}

/** One token's map, or the mean of the object's five; 0 is where it looked least, 1 most. */
function tokenMap(maps, size, chosen) {
  const wanted = chosen === "all" ? [...Array(TOKENS).keys()] : [Number(chosen)];
  const values = new Float32Array(size);
  for (const token of wanted) {
    for (let place = 0; place < size; place++) values[place] += maps[token * size + place];
  }
  const least = Math.min(...values);
  const range = Math.max(Math.max(...values) - least, 1e-6);
  return values.map((value) => (value - least) / range);
}

function colour(value) {
  const above = Math.max(1, RAMP.findIndex(([stop]) => value <= stop));
  const [[low, from, thin], [high, to, thick]] = [RAMP[above - 1], RAMP[above]];
  const part = (value - low) / (high - low);
  const mix = (a, b) => a + part * (b - a);
  return [...from.map((channel, place) => mix(channel, to[place])), 255 * mix(thin, thick)];
}
