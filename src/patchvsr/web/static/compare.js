// Before and after under one slider: pictures, or two players that keep step.

import { make } from "./dom.js";
import { clock, lastMoment } from "./words.js";

const STILL_AFTER_MS = 250; // the moment has not changed for so long: get its pictures

// Two elements under a slider. Left of it is `before`.
function slider(before, after, width, height) {
  const range = make("input", { type: "range", className: "slider", min: 0, max: 100, step: 0.5, value: 50 });
  range.setAttribute("aria-label", "Boundary between before and after");
  const box = make(
    "div", { className: "compare" },
    make("div", { className: "side" }, after), make("div", { className: "side before" }, before), range,
    make("span", { className: "tag left" }, "before"), make("span", { className: "tag right" }, "after"),
  );
  box.style.aspectRatio = `${width} / ${height}`;
  box.style.maxWidth = `calc(75vh * ${width / height})`; // a tall picture fits on the screen
  range.oninput = () => box.style.setProperty("--at", `${range.value}%`);
  return box;
}

// The picture of a preview holds both sides and a line of two pixels between them.
export function comparePreview(url, [width, height]) {
  const LINE = 2;
  const whole = 2 * width + LINE;
  const side = (shift) => {
    const picture = make("img", { src: url, className: "sheet", alt: shift ? "after" : "before" });
    picture.style.width = `${(100 * whole) / width}%`;
    picture.style.transform = `translateX(${(-100 * shift) / whole}%)`;
    return picture;
  };
  return slider(side(0), side(width + LINE), width, height);
}

// Returns an element that plays input and output of a finished job, or shows stills where the browser cannot.
export function compareJob(job) {
  const turned = (job.rotation / 90) % 2 !== 0;
  const [width, height] = turned ? [...job.output_size].reverse() : job.output_size;
  const place = make("div");
  const showStills = () => place.replaceChildren(...stills(job, width, height));
  place.append(...players(job, width, height, showStills));
  return place;
}

function players(job, width, height, fail) {
  const video = (side, muted) => make("video", { src: `/api/jobs/${job.id}/${side}`, muted, playsInline: true, preload: "auto" });
  const before = video("input", true), after = video("output", false);
  before.ariaLabel = "before";
  after.ariaLabel = "after";
  const play = make("button", { type: "button" }, "Play");
  const sound = make("button", { type: "button" }, "Mute");
  const time = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, className: "grow" });
  time.setAttribute("aria-label", "Time");
  const text = make("output", {}, clock(0));

  for (const player of [before, after]) {
    player.onerror = fail;
    // A file whose sound alone can be played has no size.
    player.onloadedmetadata = () => { if (!player.videoWidth) fail(); };
  }
  after.ondurationchange = () => { time.max = after.duration || 1; };

  // A pause right after is no failure.
  const start = (player) => player.play().catch((error) => { if (error.name === "NotSupportedError") fail(); });

  // The output leads. The input follows: a little faster or slower for a small lag, a jump for a large one.
  const keepStep = () => {
    const lag = after.currentTime + job.start_s - before.currentTime;
    if (Math.abs(lag) > 0.25 || (after.paused && Math.abs(lag) > 0.001)) {
      if (!before.seeking) before.currentTime = after.currentTime + job.start_s;
    } else {
      before.playbackRate = after.playbackRate * (1 + Math.max(-0.5, Math.min(0.5, 4 * lag)));
    }
    time.value = after.currentTime;
    text.textContent = clock(after.currentTime);
    if (!after.paused) requestAnimationFrame(keepStep);
  };
  after.onplay = () => { start(before); play.textContent = "Pause"; keepStep(); };
  after.onpause = () => { before.pause(); play.textContent = "Play"; keepStep(); };
  after.onseeked = keepStep;
  after.onwaiting = () => before.pause();
  after.onplaying = () => start(before);
  play.onclick = () => (after.paused ? start(after) : after.pause());
  sound.onclick = () => { after.muted = !after.muted; sound.textContent = after.muted ? "Sound" : "Mute"; };
  time.oninput = () => { after.currentTime = Number(time.value); };
  return [slider(before, after, width, height), make("div", { className: "row player" }, play, time, text, sound)];
}

function stills(job, width, height) {
  const picture = (side) => make("img", { alt: side });
  const before = picture("before"), after = picture("after");
  const end = lastMoment(job.output_duration_s, job.frames);
  const time = make("input", { type: "range", min: 0, max: end, step: 0.04, value: end / 3, className: "grow" });
  time.setAttribute("aria-label", "Time");
  const text = make("output");
  const show = () => {
    for (const side of [before, after]) side.src = `/api/jobs/${job.id}/still?side=${side.alt}&at=${time.value}`;
  };
  let timer = 0;
  time.oninput = () => {
    text.textContent = clock(Number(time.value));
    clearTimeout(timer);
    timer = setTimeout(show, STILL_AFTER_MS);
  };
  time.oninput();
  const why = make("p", { className: "state" }, "This browser cannot play one of the two files, so here are pictures of any moment.");
  return [why, slider(before, after, width, height), make("div", { className: "row player" }, time, text)];
}
