// The page: its tabs, and what each of them shows and does.

import { ask, headers, json, mapPath, words } from "./api.js";
import { Scene, axisOf } from "./scene.js";
import { CameraStream } from "./stream.js";

const $ = (id) => document.getElementById(id);
const LOOK_MS = 500, RATE_MS = 2000;
const SUPPORT = { NONE: "nothing", ANCHOR: "a search of this image", MAP_TRACKING: "followed points of the map", ODOMETRY: "odometry" };

let scene = null, stream = null, statuses = [], shown = "";

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function button(text, action) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function note(id, text, isBad = false) {
  $(id).textContent = text;
  $(id).classList.toggle("bad", isBad);
}

// Tabs

const TABS = ["camera", "maps", "build", "reports"];

function open(tab) {
  for (const one of TABS) {
    $(`panel-${one}`).hidden = one !== tab;
    $(`tab-${one}`).setAttribute("aria-selected", String(one === tab));
  }
  if (tab === "maps") listMaps();
  if (tab === "build") listJobs();
  if (tab === "reports") listReports();
}

// Maps

async function listMaps() {
  try {
    statuses = (await json("reference/status")).filter((one) => ["ready", "failed"].includes(one.state));
  } catch (error) {
    note("camera-note", error.message, true);
    return;
  }
  const usable = statuses.filter((one) => one.state === "ready"), chosen = $("map").value;
  $("map").replaceChildren(...usable.map((one) => new Option(one.name, one.name)));
  if (usable.some((one) => one.name === chosen)) $("map").value = chosen;
  $("maps").replaceChildren(...statuses.map(mapCard));
  if (!statuses.length) $("maps").append(element("li", "There is no map yet: build one of a video.", "card"));
  const isCameraBlocked = !usable.length;
  $("webcam").disabled = isCameraBlocked;
  if (isCameraBlocked) note("camera-note", "There is no map yet: build one of a video under Build.");
  if ($("map").value !== shown) await showMap();
}

async function showMap() {
  const name = $("map").value, status = statuses.find((one) => one.name === name);
  if (!scene || !status) return;
  shown = name;
  $("view-note").textContent = "The map is loading …";
  try {
    const { points, images } = await scene.show(name, status.gravity_aligned);
    if (shown === name) $("view-note").textContent = `${points} points of ${images} images, in ${status.metric ? "metres" : "units of the map"}`;
  } catch (error) {
    $("view-note").textContent = error.message;
  }
}

function mapCard(status) {
  const card = element("li", "", "card"), row = element("div", "", "row");
  card.append(element("h2", status.name));
  if (status.state === "ready") {
    const facts = [`${status.images} images`, `${status.points} points`, `${(status.size_bytes / 1e6).toFixed(1)} MB`];
    facts.push(status.metric ? "in metres" : "without a scale", status.gravity_aligned ? "z points up" : "no known up");
    card.append(element("p", facts.join(" · ")));
    row.append(
      button("Use", () => { $("map").value = status.name; showMap(); open("camera"); }),
      button("Card", () => read(status.name, mapPath(status.name, "/card"))),
      button("Download", () => download(status.name)),
    );
  } else {
    card.append(element("p", status.problem, "bad"));
  }
  row.append(button("Delete", () => remove(status.name)));
  card.append(row);
  return card;
}

async function remove(name) {
  if (!confirm(`Delete the map ${name} from the server? It cannot be brought back.`)) return;
  try {
    await ask(mapPath(name), { method: "DELETE" });
    if (shown === name) shown = "";
  } catch (error) {
    alert(error.message);
  }
  listMaps();
}

async function download(name) {
  try {
    const response = await ask(mapPath(name)), link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${name.replace(/\.tar\.gz$/, "")}.tar.gz`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    alert(error.message);
  }
}

async function read(title, path) {
  // A page of the server in a frame that runs nothing.
  try {
    const text = await (await ask(path)).text();
    $("reader-title").textContent = title;
    $("reader-frame").srcdoc = text;
    $("reader").showModal();
  } catch (error) {
    alert(error.message);
  }
}

// Camera

const hear = {
  times: [],

  answer(answer, ageMs, from) {
    const now = performance.now();
    this.times = [...this.times.filter((time) => now - time < RATE_MS), now];
    $("readout").hidden = false;
    showState(answer.state, answer.advice ?? answer.detail ?? "");
    showRate(`${(this.times.length / (RATE_MS / 1000)).toFixed(0)} a second, ${ageMs.toFixed(0)} ms old`);
    $("support").textContent = SUPPORT[answer.support] ?? "–";
    if (answer.calibration) {
      from.estimated = answer.calibration.focal_length_px;
      $("calibration").textContent = answer.calibration.description;
    } else if (from.focal) {
      $("calibration").textContent = `focal length ${from.focal.toFixed(0)} px, as given`;
    }
    for (const search of answer.searches ?? []) {
      $("search").textContent = search.success ? `found, ${search.num_inliers} inliers` : search.reason;
      if (search.success) scene?.addFound(search.map_from_camera);
    }
    showPose(answer.map_from_camera, answer.covariance, answer.metric);
    if (answer.map_from_camera) {
      scene?.setCamera(answer.map_from_camera, answer.state, from.width, from.height, from.focal ?? from.estimated ?? from.width);
    }
  },

  end(text) {
    if (text) note("camera-note", text);
    stream = null;
    $("panel-camera").classList.remove("running");
    $("webcam").disabled = false;
    showState("no camera", "");
  },
};

function showState(state, reason) {
  const badge = $("state");
  badge.textContent = state ?? "not an image";
  badge.className = `badge ${state ?? ""}`;
  $("reason").textContent = reason;
}

function showRate(words) {
  // Answers come at a rate from a camera; a photo has one.
  $("rate").textContent = words;
  for (const part of [$("rate"), $("rate").previousElementSibling]) part.hidden = !words;
}

function showPose(pose, covariance, isMetric) {
  const unit = isMetric ? " m" : "";
  if (!pose) {
    for (const id of ["position", "heading", "uncertainty"]) $(id).textContent = "–";
    return;
  }
  $("position").textContent = [pose.tx, pose.ty, pose.tz].map((value) => value.toFixed(2)).join(", ") + unit;
  $("heading").textContent = axisOf(pose, 0, 0, 1).toArray().map((value) => value.toFixed(2)).join(", ");
  if (covariance) {
    const sigma = Math.sqrt(Math.max(covariance[0][0] + covariance[1][1] + covariance[2][2], 0));
    $("uncertainty").textContent = isMetric ? `${(100 * sigma).toFixed(1)} cm` : sigma.toPrecision(2);
  }
}

function clear() {
  // What an earlier camera or photo has left.
  stream?.end();
  scene?.clearDrive();
  $("photos").replaceChildren();
  $("readout").hidden = true;
  for (const id of ["support", "search", "calibration", "rate"]) $(id).textContent = "–";
  note("camera-note", "");
}

async function begin(source) {
  clear();
  const mine = stream = new CameraStream($("preview"), $("map").value, Number($("focal").value) || null, hear);
  $("panel-camera").classList.add("running");
  try {
    await mine.open(source);
  } catch (error) {
    mine.end();
    note("camera-note", error.message, true);
  }
}

async function startWebcam() {
  if (!navigator.mediaDevices) {
    note("camera-note", "A browser gives its camera only to pages over HTTPS or of this computer: put a proxy with TLS before the server.", true);
    return;
  }
  $("webcam").disabled = true;
  try {
    const wanted = { facingMode: { ideal: "environment" }, width: { ideal: 640 }, height: { ideal: 480 } };
    await begin(await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false }));
  } catch (error) {
    note("camera-note", `The camera cannot be opened: ${error.message}`, true);
    $("webcam").disabled = false;
  }
}

async function takeFiles(files) {
  const videos = files.filter((file) => file.type.startsWith("video/"));
  if (videos.length) {
    await begin(videos[0]);
    return;
  }
  clear();
  for (const file of files) await locate(file);
}

async function locate(file) {
  // One photo, by itself.
  const words = element("span", `${file.name}: searching …`), item = element("li");
  const form = new FormData(), focal = Number($("focal").value);
  item.append(pictureOf(file), words);
  $("photos").append(item);
  form.append("image", file);
  form.append("map", $("map").value);
  try {
    if (focal) {
      const image = await createImageBitmap(file, { imageOrientation: "none" });
      const camera = { fx: focal, fy: focal, cx: image.width / 2, cy: image.height / 2 };
      for (const [key, value] of Object.entries(camera)) form.append(key, value);
    }
    const answer = await json("localize", { method: "POST", body: form });
    words.textContent = `${file.name}: ${answer.success ? `found, ${answer.num_inliers} inliers` : `${answer.reason} – ${answer.advice}`}`;
    $("readout").hidden = false;
    showRate("");
    const ms = Object.values(answer.timings_ms).reduce((sum, one) => sum + one, 0);
    $("search").textContent = `${answer.success ? `found, ${answer.num_inliers} inliers` : answer.reason}, ${ms.toFixed(0)} ms`;
    $("support").textContent = answer.success ? `this photo: ${answer.num_inliers} of ${answer.num_matches} matches agree` : "–";
    showPose(answer.map_from_camera, answer.covariance, answer.metric);
    showState(answer.success ? "LOCALIZED" : "LOST", answer.advice ?? "");
    const camera = answer.camera;
    if (camera) $("calibration").textContent = camera.description;
    if (answer.success) scene?.addPhoto(answer.map_from_camera, camera.width, camera.height, camera.focal_length_px);
  } catch (error) {
    words.textContent = `${file.name}: ${error.message}`;
    item.className = "bad";
  }
}

function pictureOf(file) {
  // The photo itself, where the browser can show it: few know HEIC.
  const picture = element("img");
  picture.alt = "";
  picture.src = URL.createObjectURL(file);
  picture.onload = () => URL.revokeObjectURL(picture.src);
  picture.onerror = () => picture.remove();
  return picture;
}

// Build

function upload(event) {
  event.preventDefault();
  const file = $("build-file").files[0], name = $("build-name").value.trim(), request = new XMLHttpRequest();
  const submit = event.target.querySelector("button");
  request.open("POST", `reference/build?name=${encodeURIComponent(name)}&file=${encodeURIComponent(file.name)}`);
  for (const [key, value] of Object.entries(headers())) request.setRequestHeader(key, value);
  request.upload.onprogress = (at) => note("build-note", `Uploading: ${((100 * at.loaded) / at.total).toFixed(0)} %`);
  request.onerror = () => { note("build-note", "The upload broke off: is the server still running?", true); submit.disabled = false; };
  request.onload = async () => {
    submit.disabled = false;
    if (request.status === 202) {
      note("build-note", "The video is uploaded. You may close this page: the map is built all the same.");
      event.target.reset();
      listJobs();
    } else {
      note("build-note", await words(new Response(request.responseText, { status: request.status })), true);
    }
  };
  submit.disabled = true;
  request.send(file);
}

let looking = null;

async function listJobs() {
  clearTimeout(looking);
  let jobs;
  try {
    jobs = await json("reference/jobs");
  } catch (error) {
    note("build-note", error.message, true);
    return;
  }
  const wasOpen = $("jobs").dataset.open, open = jobs.filter((job) => ["queued", "building"].includes(job.state));
  $("jobs").replaceChildren(...jobs.map(jobCard));
  $("jobs").dataset.open = open.length;
  if (wasOpen !== undefined && Number(wasOpen) > open.length) listMaps(); // one has ended
  if (open.length) looking = setTimeout(listJobs, LOOK_MS);
}

function jobCard(job) {
  const card = element("li", "", "card");
  card.append(element("h2", job.name), element("p", job.stage && job.state === "building" ? `building: ${job.stage}` : job.state));
  if (job.message) card.append(element("p", job.message, job.state === "failed" ? "bad" : ""));
  if (job.state === "building") {
    const bar = document.createElement("progress");
    bar.max = job.total || 1;
    bar.value = job.steps;
    card.append(bar);
  }
  if (["queued", "building"].includes(job.state)) {
    const row = element("div", "", "row");
    row.append(button("Cancel", async () => { await ask(`reference/jobs/${job.id}`, { method: "DELETE" }); listJobs(); }));
    card.append(row);
  }
  return card;
}

// Reports

async function listReports() {
  try {
    const reports = await json("reports");
    $("reports").replaceChildren(...reports.map((report) => {
      const card = element("li", "", "card"), row = element("div", "", "row");
      card.append(element("h2", report.name), element("p", new Date(1000 * report.written_s).toLocaleString()), row);
      row.append(button("Read", () => read(report.name, `reports/page?name=${encodeURIComponent(report.name)}`)));
      return card;
    }));
    if (!reports.length) {
      $("reports").append(element("li", "No reports: start the server with --reports and the folder that visloc run, replay or localize write to.", "card"));
    }
  } catch (error) {
    $("reports").replaceChildren(element("li", error.message, "card bad"));
  }
}

// Start

for (const tab of TABS) $(`tab-${tab}`).addEventListener("click", () => open(tab));
$("map").addEventListener("change", showMap);
$("webcam").addEventListener("click", startWebcam);
$("file").addEventListener("change", (event) => { takeFiles([...event.target.files]); event.target.value = ""; });
$("stop").addEventListener("click", () => stream?.end("Stopped."));
$("build").addEventListener("submit", upload);
$("follow").addEventListener("change", (event) => { if (scene) scene.follow = event.target.checked; });
$("reset-view").addEventListener("click", () => scene?.whole());
try {
  scene = new Scene($("canvas"));
} catch {
  $("view-note").textContent = "This browser shows no 3D (WebGL): poses come as numbers.";
}
window.visloc = { get scene() { return scene; } }; // for tests of the page
json("health").then((health) => { $("server").textContent = `version ${health.version}`; }, (error) => note("camera-note", error.message, true));
listMaps();
