// The form for one video: what it is, how to upscale it, a look before the work.

import { ask } from "./api.js";
import { comparePreview } from "./compare.js";
import { during, fillList, fromTemplate, make } from "./dom.js";
import { CHOICES, clock, duration, estimateText, lastMoment, streamName, summary } from "./words.js";

const NUMBERS = ["crf", "start_s", "end_s", "num_inference_steps", "seed"];
const CROP_SIDE_PX = 160; // of the part that is chosen at first
const STILL_AFTER_MS = 250;

// source: {input: path} or {upload: id}. done: called when the form is not needed any more, with the id of what is used next.
export function showSource(place, source, facts, service, done) {
  place.replaceChildren(fromTemplate("source-template"));
  place.hidden = false;
  const find = (selector) => place.querySelector(selector);
  const form = find("form"), errors = find("form > .error");

  find(".name").textContent = facts.name;
  find(".summary").textContent = summary(facts);
  find(".interlaced").hidden = find(".deinterlace").hidden = !facts.interlaced;
  fillList(find(".facts"), facts.facts);
  for (const [name, choices] of Object.entries(CHOICES)) {
    form.elements[name].append(...choices.map(([text], index) => make("option", { value: index }, text)));
  }
  if (facts.interlaced) form.elements.deinterlace.value = 1;
  form.elements.model.append(...service.models.map((model) => make("option", { value: model }, model)));
  find(".output").hidden = !service.folders.length;
  find(".leave-out").append(...facts.streams.filter((stream) => stream.index !== facts.video_stream).map((stream) =>
    make("label", {}, make("input", { type: "checkbox", name: "skip", value: stream.index }), ` ${streamName(stream)}`)));
  find(".leave-out").hidden = facts.streams.length < 2;

  const wish = () => ({ ...source, ...chosen(form) });
  const look = addLook(find(".look"), form, source, facts, wish, errors);

  find(".estimate").onclick = (event) => during(event.target, errors, async () => {
    find(".estimate-result").textContent = estimateText(await ask("POST", "/estimate", wish()));
  });
  find(".forget").onclick = async () => {
    look.stop();
    if (source.upload) await ask("DELETE", `/uploads/${source.upload}`).catch(() => null); // in use by a job: kept
    done("file");
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    during(find(".primary"), errors, async () => {
      const output = form.elements.output.value.trim();
      await ask("POST", "/jobs", {
        ...wish(), priority: Number(form.elements.priority.value), ...(output ? { output } : {}),
      });
      done("jobs-heading");
    });
  };
  find(".name").focus();
}

function chosen(form) {
  const fields = form.elements;
  const settings = {};
  for (const name of ["size", "restoration", "codec", "deinterlace"]) {
    Object.assign(settings, CHOICES[name][fields[name].value][1]);
  }
  for (const name of NUMBERS) if (fields[name].value !== "") settings[name] = Number(fields[name].value);
  if (fields.model.selectedIndex > 0) settings.model = fields.model.value;
  const skipped = [...form.querySelectorAll("[name=skip]:checked")].map((box) => Number(box.value));
  if (skipped.length) settings.skip_streams = skipped;
  return { settings, container: CHOICES.container[fields.container.value][1] };
}

// The look at one moment: a still to choose a part of, and the preview of that part.
function addLook(panel, form, source, facts, wish, errors) {
  const fields = form.elements, picture = panel.querySelector("img"), box = panel.querySelector(".crop");
  const names = ["crop_x", "crop_y", "crop_width", "crop_height"];
  fields.moment.max = lastMoment(facts.duration_s, facts.frames);
  fields.moment.value = (facts.duration_s ?? 0) / 3;
  const side = Math.min(CROP_SIDE_PX, facts.width, facts.height);
  setCrop([Math.floor((facts.width - side) / 2), Math.floor((facts.height - side) / 2), side, side]);

  let timer = 0;
  function showStill() {
    panel.querySelector(".moment-text").textContent = clock(Number(fields.moment.value));
    clearTimeout(timer);
    timer = setTimeout(() => {
      picture.src = `/api/still?${new URLSearchParams({ ...source, at: fields.moment.value })}`;
    }, STILL_AFTER_MS);
  }
  fields.moment.oninput = showStill;
  panel.ontoggle = () => { if (panel.open && !picture.src) showStill(); };

  // A still is turned as players turn it; parts are those of the stored frame, so a turned video has no drawing.
  const canDraw = facts.rotation === 0;
  function setCrop(values) {
    names.forEach((name, index) => { fields[name].value = values[index]; });
    drawCrop();
  }
  function drawCrop() {
    const [x, y, width, height] = names.map((name) => Number(fields[name].value));
    const percent = (value, of) => `${(100 * value) / of}%`;
    box.hidden = facts.rotation !== 0;
    Object.assign(box.style, {
      left: percent(x, facts.width), top: percent(y, facts.height),
      width: percent(width, facts.width), height: percent(height, facts.height),
    });
  }
  for (const name of names) fields[name].oninput = drawCrop;

  const cropper = panel.querySelector(".cropper");
  let from = null;
  const at = (event) => {
    const area = picture.getBoundingClientRect();
    const within = (value, most) => Math.round(Math.max(0, Math.min(1, value)) * most);
    return [within((event.clientX - area.left) / area.width, facts.width), within((event.clientY - area.top) / area.height, facts.height)];
  };
  cropper.onpointerdown = (event) => {
    if (!canDraw) return;
    from = at(event);
    cropper.setPointerCapture(event.pointerId);
  };
  cropper.onpointermove = (event) => {
    if (from === null) return;
    const to = at(event);
    const [x, y] = [0, 1].map((axis) => Math.min(from[axis], to[axis]));
    const [width, height] = [0, 1].map((axis) => Math.abs(from[axis] - to[axis]));
    if (width && height) setCrop([x, y, width, height]);
  };
  cropper.onpointerup = () => { from = null; };

  panel.querySelector(".preview").onclick = (event) => during(event.target, errors, async () => {
    const crop = names.map((name) => fields[name].value).join(",");
    const made = await ask("POST", "/previews", { ...wish(), at: Number(fields.moment.value), crop });
    panel.querySelector(".preview-result").replaceChildren(
      comparePreview(`/api/pictures/${made.output}`, made.size),
      make("p", { className: "state" }, `The whole video takes about ${duration(made.job_s)} to restore.`),
    );
  });
  return { stop: () => clearTimeout(timer) };
}
