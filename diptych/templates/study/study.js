// The page of a study: consent, screen, instructions, practice, trials, completion code.
// Images are shown on a canvas for a number of frames, and the time between the two frames is measured and sent.

const texts = JSON.parse(document.body.dataset.texts);
const main = document.getElementById("study");
const query = new URLSearchParams(location.search);
const KEYS = ["f", "j", "k", "l", "d", "s"];
const FEEDBACK_MS = 2400;

// Words of the design are one text, or a text for each language.
const words = (given) => (typeof given === "string" ? given : given[document.documentElement.lang]);
const text = (key, values = {}) => words(texts[key]).replace(/\{(\w+)\}/g, (_, name) => values[name]);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const nextFrame = () => new Promise((done) => requestAnimationFrame(done));

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function show(...children) {
  main.replaceChildren(...children);
}

// A panel with a button; resolves when the button is used. The button has the focus, and screen readers read the text with it.
function panel(title, lines, label) {
  return new Promise((done) => {
    const button = element("button", { textContent: label, onclick: done });
    const told = element("div", { id: "told" }, element("h1", { textContent: title }),
      ...lines.map((line) => element("p", { textContent: line })));
    button.setAttribute("aria-describedby", told.id);
    show(element("section", { className: "panel" }, told, button));
    button.focus();
  });
}

// ------------------------------------------------------------------------------------------------ the server

let session = sessionStorage.getItem("session") || "";

async function request(path, body) {
  for (;;) {
    try {
      const response = await fetch(path, {
        method: body ? "POST" : "GET",
        headers: { ...(session && { Authorization: `Bearer ${session}` }), ...(body && { "Content-Type": "application/json" }) },
        body: body && JSON.stringify(body),
      });
      if (response.ok || response.status < 500) return response;
    } catch { /* no connection: ask below */ }
    await panel(text("error"), [], text("retry"));
  }
}

async function joined() {
  if (session) {
    const response = await request("/api/session");
    if (response.ok) return response.json();
    session = "";
  }
  await panel(text("consent_title"), [text("consent")], text("agree"));
  const external = query.get("PROLIFIC_PID") || query.get("workerId") || undefined;
  const response = await request("/api/join", { language: document.documentElement.lang, external, token: query.get("token") || "" });
  const answer = await response.json();
  if (!response.ok) throw new Error(response.status === 403 ? text("link") : text("stopped", { reason: answer.detail }));
  session = answer.session;
  sessionStorage.setItem("session", session);
  return (await request("/api/session")).json();
}

// ------------------------------------------------------------------------------------------------- the images

// All images are fetched and decoded before the first trial, and held in memory.
async function preload(trials) {
  const images = new Map();
  const addresses = trials.flatMap((trial) => [...trial.images, trial.input, trial.reference]).filter(Boolean);
  const note = element("p");
  show(element("section", { className: "panel" }, element("h1", { textContent: text("loading") }), note));
  for (const [number, address] of addresses.entries()) {
    note.textContent = `${number + 1} / ${addresses.length}`;
    const blob = await (await request(address)).blob();
    images.set(address, await createImageBitmap(blob));
  }
  return images;
}

function figure(bitmap, caption) {
  const canvas = element("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  return { canvas, node: element("figure", {}, canvas, element("figcaption", { textContent: caption })) };
}

const draw = (canvas, bitmap) => canvas.getContext("2d").drawImage(bitmap, 0, 0);

function cover(canvas, mask) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (mask !== "noise") return;
  const noise = context.createImageData(canvas.width, canvas.height);
  for (let at = 0; at < noise.data.length; at += 4) {
    noise.data[at] = noise.data[at + 1] = noise.data[at + 2] = Math.random() * 256;
    noise.data[at + 3] = 255;
  }
  context.putImageData(noise, 0, 0);
}

let frameMs = 1000 / 60;

async function measureFrame() {
  const times = [];
  for (let at = 0; at < 31; at++) times.push(await nextFrame());
  const steps = times.slice(1).map((time, at) => time - times[at]).sort((a, b) => a - b);
  frameMs = Math.max(steps[15], 1);
}

// Shows images for a number of frames; returns [requested ms, measured ms, frames that took longer than 1.5].
async function expose(shown, ms, mask) {
  const frames = Math.max(1, Math.round(ms / frameMs));
  let last = await nextFrame();
  for (const [canvas, bitmap] of shown) draw(canvas, bitmap);
  const start = last;
  let dropped = 0;
  for (;;) {
    const now = await nextFrame();
    if (now - last > 1.5 * frameMs) dropped += 1;
    last = now;
    if (now - start >= (frames - 0.5) * frameMs) break;
  }
  for (const [canvas] of shown) cover(canvas, mask);
  return [ms, last - start, dropped];
}

// -------------------------------------------------------------------------------------------------- the trials

let focusLost = false;
document.addEventListener("visibilitychange", () => { focusLost ||= document.hidden; });
addEventListener("blur", () => { focusLost = true; });

function choices(study, count) {
  if (study.kind === "opinion_score") {
    const [low, high] = study.scores;
    return Array.from({ length: high - low + 1 }, (_, at) => ({ label: `${low + at}`, value: low + at, key: `${low + at}` }));
  }
  let labels = Array.from({ length: count }, (_, at) => text("image", { number: at + 1 }));
  if (study.presentation === "single") labels = [text("real"), text("fake")];
  else if (count === 2) labels = study.presentation === "sequential" ? [text("first"), text("second")] : [text("left"), text("right")];
  const found = labels.map((label, at) => ({ label, value: at, key: count > KEYS.length ? `${at + 1}` : KEYS[at] }));
  return study.ties ? [...found, { label: text("tie"), value: -1, key: " " }] : found;
}

const keyName = (option) => (option.key === " " ? "␣" : option.key.toUpperCase());

// Resolves with the value of the button or key that was used, and the time since the question appeared.
function answered(buttons, options) {
  const start = performance.now();
  return new Promise((done) => {
    const finish = (value) => {
      removeEventListener("keydown", typed);
      done([value, Math.round(performance.now() - start)]);
    };
    const typed = (event) => {
      const option = options.find((each) => each.key === event.key.toLowerCase());
      if (option && !event.repeat) { event.preventDefault(); finish(option.value); }
    };
    addEventListener("keydown", typed);
    buttons.replaceChildren(...options.map((option) => {
      const button = element("button", { onclick: () => finish(option.value), textContent: option.label });
      if (option.label !== option.key) button.append(element("kbd", { textContent: keyName(option), ariaHidden: "true" }));
      button.setAttribute("aria-keyshortcuts", option.key === " " ? "Space" : keyName(option));
      return button;
    }));
  });
}

function captions(study, trial) {
  if (trial.images.length === 1 || study.presentation === "sequential") return [text("picture")];
  return trial.images.map((_, at) => (trial.images.length === 2 ? text(at ? "right" : "left") : text("image", { number: at + 1 })));
}

async function ask(study, trial, question, images, total) {
  const stage = element("div", { className: "stage" });
  const buttons = element("div", { className: "answers" });
  const label = element("h1", { className: "question", textContent: words(question.text), tabIndex: -1 });
  const feedback = element("p", { className: "feedback", role: "status" });
  const progress = element("p", { className: "progress", textContent: text("progress", { number: trial.number + 1, total }) });
  for (const kind of ["input", "reference"]) {
    if (!trial[kind] || !question[`show_${kind}`]) continue;
    const made = figure(images.get(trial[kind]), text(kind));
    draw(made.canvas, images.get(trial[kind]));
    made.node.className = "given"; // on a phone alone in its row, above two images
    stage.append(made.node);
  }
  const bitmaps = trial.images.map((address) => images.get(address));
  const canvases = captions(study, trial).map((caption, at) => figure(bitmaps[at], caption));
  stage.append(...canvases.map((made) => made.node));
  label.style.visibility = study.exposure_ms ? "hidden" : "visible";
  show(progress, stage, label, buttons, feedback);
  focusLost = false;
  await sleep(study.interval_ms);
  const exposures = [];
  if (!study.exposure_ms) {
    bitmaps.forEach((bitmap, at) => draw(canvases[at].canvas, bitmap));
  } else {
    await sleep(study.fixation_ms);
    const groups = study.presentation === "sequential"
      ? bitmaps.map((bitmap) => [[canvases[0].canvas, bitmap]])
      : [bitmaps.map((bitmap, at) => [canvases[at].canvas, bitmap])];
    for (const [at, group] of groups.entries()) {
      if (at) await sleep(study.interval_ms);
      exposures.push(await expose(group, study.exposure_ms, study.mask));
    }
  }
  label.style.visibility = "visible";
  label.focus({ preventScroll: true }); // screen readers read the question; Tab leads to the answers
  const [answer, responseMs] = await answered(buttons, choices(study, bitmaps.length));
  buttons.replaceChildren();
  const measured = {
    exposures, refresh_hz: 1000 / frameMs, focus_lost: focusLost,
    width: innerWidth, height: innerHeight, pixel_ratio: devicePixelRatio,
  };
  const sent = { trial: trial.number, question: question.key, answer, response_ms: responseMs, measured };
  const response = await request("/api/answers", sent);
  if (!response.ok) throw new Error(text("stopped", { reason: (await response.json()).detail }));
  const { correct, exposure_ms } = await response.json();
  study.exposure_ms = exposure_ms; // of the next trial: a staircase changes it
  if (correct === null) return;
  stage.classList.add(correct ? "right" : "wrong");
  feedback.textContent = text(correct ? "correct" : "wrong");
  await sleep(FEEDBACK_MS);
}

async function run() {
  const study = await joined();
  if (!study.completed) {
    const done = new Set(study.answered.map(([trial, key]) => `${trial} ${key}`));
    const images = await preload(study.trials.filter((trial) => study.questions.some((each) => !done.has(`${trial.number} ${each.key}`))));
    const widest = Math.max(0, ...[...images.values()].map((image) => image.width));
    await panel(text("screen_title"), [text(widest + 32 > innerWidth ? "screen_small" : "screen")], text("continue"));
    await measureFrame();
    const practice = study.trials.filter((trial) => trial.practice).length;
    const keys = choices(study, study.trials[0].images.length).map(keyName).join(text("comma"));
    const lines = [text(study.exposure_ms ? "timed" : "untimed"), text("keys", { keys })];
    if (practice) lines.push(text("practice", { count: practice }));
    await panel(text("instructions_title"), lines, text("start"));
    for (const trial of study.trials) {
      const due = study.questions.filter((question) => !done.has(`${trial.number} ${question.key}`));
      if (!due.length) continue;
      if (practice && trial.number === practice) await panel(text("practice_end_title"), [text("practice_end")], text("continue"));
      else if (trial.number && trial.number % study.break_every === 0) {
        await panel(text("break_title"), [text("break", { done: trial.number, total: study.trials.length })], text("continue"));
      }
      for (const question of due) await ask(study, trial, question, images, study.trials.length);
    }
    study.completed = (await (await request("/api/finish", {})).json()).code;
  }
  const title = element("h1", { textContent: text("finish_title"), tabIndex: -1 });
  show(element("section", { className: "panel" }, title,
    element("p", { textContent: text("finish") }), element("p", { className: "code", id: "code", textContent: study.completed })));
  title.focus();
}

run().catch((error) => show(element("section", { className: "panel" }, element("p", { textContent: error.message }))));
