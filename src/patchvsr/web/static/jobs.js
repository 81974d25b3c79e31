// The list of jobs. Each line is kept and updated, so that an open comparison stays open.

import { ask } from "./api.js";
import { compareJob } from "./compare.js";
import { during, fillList, fromTemplate, make } from "./dom.js";
import { jobText, reportRows } from "./words.js";

const ACTIONS = {
  submitted: ["pause", "cancel", "delete"],
  running: ["pause", "cancel", "delete"],
  paused: ["resume", "cancel", "delete"],
  failed: ["resume", "delete"],
  cancelled: ["resume", "delete"],
  done: ["delete"],
};
const LABELS = { pause: "Pause", resume: "Go on", cancel: "Cancel", delete: "Delete", front: "Do it next" };

export function showJobs(list, jobs) {
  const shown = new Map([...list.children].map((line) => [line.dataset.id, line]));
  const waiting = jobs.filter((job) => job.state === "submitted");
  // What runs comes first, then the queue in its order, then the rest, newest first.
  const rank = (job) => (job.state === "running" ? 0 : job.state === "submitted" ? 1 : 2);
  const order = [...jobs].sort((a, b) => rank(a) - rank(b) || (rank(a) === 2 ? b.submitted_at - a.submitted_at : 0));
  order.forEach((job, index) => {
    const line = shown.get(job.id) ?? newLine(job);
    update(line, job, waiting);
    if (list.children[index] !== line) list.insertBefore(line, list.children[index] ?? null);
    shown.delete(job.id);
  });
  for (const line of shown.values()) {
    if (line.contains(document.activeElement)) document.getElementById("jobs-heading").focus();
    line.remove();
  }
}

function newLine(job) {
  const line = fromTemplate("job-template").firstElementChild;
  line.dataset.id = job.id;
  line.querySelector("h3").textContent = job.name;
  line.querySelector(".thumbnail").src = `/api/jobs/${job.id}/thumbnail`;
  line.querySelector(".notices").append(...job.notices.map((notice) => make("li", { className: "state" }, notice)));
  return line;
}

function update(line, job, waiting) {
  line.querySelector(".state").textContent = jobText(job);
  line.querySelector(".reason").textContent = job.reason ?? "";
  const bar = line.querySelector("progress");
  bar.hidden = job.state !== "running";
  bar.setAttribute("aria-label", `Progress of ${job.name}`);
  if (job.frames && job.phase === "restoring") { bar.max = job.frames; bar.value = job.frames_done; } else bar.removeAttribute("value");

  const place = waiting.indexOf(job);
  const key = [job.state, job.wanted, place > 0].join();
  if (line.dataset.buttons === key) return; // a button that has the focus stays
  line.dataset.buttons = key;
  const errors = line.querySelector(".reason");
  const actions = [...ACTIONS[job.state].filter((action) => !job.wanted || action === "delete"), ...(place > 0 ? ["front"] : [])];
  const buttons = line.querySelector(".buttons");
  if (buttons.contains(document.activeElement)) line.querySelector("h3").focus(); // the button goes
  buttons.replaceChildren(
    ...(job.state === "done" ? doneButtons(line, job, errors) : []),
    ...actions.map((action) => actionButton(action, job, errors, waiting)),
  );
}

function actionButton(action, job, errors) {
  const button = make("button", { type: "button" }, LABELS[action]);
  button.setAttribute("aria-label", `${LABELS[action]}: ${job.name}`);
  button.onclick = () => {
    if (action === "delete" && !confirm(`Delete ${job.name} with its upload and its result?`)) return;
    during(button, errors, () => run(action, job.id));
  };
  return button;
}

async function run(action, id) {
  if (action === "delete") return ask("DELETE", `/jobs/${id}`);
  if (action !== "front") return ask("POST", `/jobs/${id}/${action}`);
  const waiting = (await ask("GET", "/jobs")).filter((job) => job.state === "submitted");
  return ask("PATCH", `/jobs/${id}`, { before: waiting[0].id });
}

function doneButtons(line, job, errors) {
  const details = line.querySelector(".details");
  const compare = make("button", { type: "button", className: "primary" }, "Compare");
  compare.onclick = () => toggle(compare, "compare", () => compareJob(job));
  const report = make("button", { type: "button" }, "Report");
  report.onclick = () => during(report, errors, async () => {
    const found = await ask("GET", `/jobs/${job.id}/report`);
    toggle(report, "report", () => {
      const rows = make("dl");
      fillList(rows, reportRows(found));
      return rows;
    });
  });
  const download = make("a", { className: "button", href: `/api/jobs/${job.id}/output`, download: job.download }, "Download");
  return [compare, download, report];

  // Shows one thing at a time below the buttons; the same button hides it.
  function toggle(button, what, build) {
    const open = details.dataset.shows !== what;
    details.dataset.shows = open ? what : "";
    details.replaceChildren(...(open ? [build()] : []));
    for (const other of [compare, report]) other.setAttribute("aria-expanded", String(open && other === button));
  }
}
