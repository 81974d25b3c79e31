// The page keeps nothing: whatever it shows comes from the service, so a reload or a second tab shows the same.

import { ask, follow } from "./api.js";
import { make } from "./dom.js";
import { showJobs } from "./jobs.js";
import { showSource } from "./source.js";
import { send } from "./upload.js";
import { bytes } from "./words.js";

const PAUSE_MS = 300; // between two looks at the jobs, however many events there are
const find = (id) => document.getElementById(id);

const service = await ask("GET", "/service");
find("by-path").hidden = !service.folders.length;
if (service.folders.length) find("by-path").elements.path.placeholder = `${service.folders[0]}/film.mkv`;

// --- jobs ---------------------------------------------------------------------------------------------------

// One request at a time, or an answer that is late would replace a newer one.
let wanted = false, working = false;
async function refreshSoon() {
  wanted = true;
  if (working) return;
  working = true;
  try {
    while (wanted) {
      wanted = false;
      await refresh();
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } finally {
    working = false;
  }
}

async function refresh() {
  const jobs = await ask("GET", "/jobs").catch(() => null);
  if (jobs === null) return; // the connection is lost, which is shown
  find("no-jobs").hidden = jobs.length > 0;
  showJobs(find("jobs"), jobs);
}

follow(service.last_event, refreshSoon, (connected) => {
  find("connection").textContent = connected ? "" : "no connection to the service; trying again";
  if (connected) { refreshSoon(); showWaitingUploads(); }
});

// --- a new video --------------------------------------------------------------------------------------------

function show(source, facts) {
  find("source-error").textContent = "";
  showSource(find("source"), source, facts, service, (next) => {
    find("source").hidden = true;
    find("source").replaceChildren();
    find(next).focus();
    showWaitingUploads();
    refreshSoon();
  });
}

async function attempt(work) {
  find("source-error").textContent = "";
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") find("source-error").textContent = error.message;
  }
}

async function sendFile(file) {
  const stopper = new AbortController();
  find("sending-name").textContent = file.name;
  find("sending").hidden = false;
  find("file").disabled = true; // one at a time
  find("sending-stop").onclick = () => stopper.abort();
  await attempt(async () => {
    const { upload, facts } = await send(file, stopper.signal, (offset, size) => {
      find("sending-progress").value = offset / size;
      find("sending-text").textContent = offset === size ? "looking at it" : `${bytes(offset)} of ${bytes(size)}`;
    });
    show({ upload }, facts);
  });
  find("sending").hidden = true;
  find("file").disabled = false;
  showWaitingUploads();
}

// Uploads that no job uses yet: those that have arrived can be used, the others go on when their file is chosen again.
async function showWaitingUploads() {
  const uploads = await ask("GET", "/uploads").catch(() => []);
  find("waiting-uploads").replaceChildren(...uploads.filter(() => find("sending").hidden && find("source").hidden).map((upload) => {
    const arrived = upload.offset === upload.size;
    const line = make("li", { className: "row" }, make("span", { className: "grow" }, arrived
      ? `${upload.name} has arrived`
      : `${upload.name}: ${bytes(upload.offset)} of ${bytes(upload.size)} have arrived; choose the file again to send the rest`));
    const use = make("button", { type: "button" }, "Use it");
    use.onclick = () => attempt(async () => { show({ upload: upload.id }, await ask("POST", "/facts", { upload: upload.id })); showWaitingUploads(); });
    const remove = make("button", { type: "button" }, "Remove");
    remove.onclick = () => attempt(async () => { await ask("DELETE", `/uploads/${upload.id}`); showWaitingUploads(); });
    line.append(...(arrived ? [use] : []), remove);
    return line;
  }));
}

find("file").onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // else choosing the same file again would be no change
  if (file) sendFile(file);
};
// Anywhere on the page: a browser would show a file that misses a target, and leave the page.
document.ondragover = (event) => { event.preventDefault(); find("drop").classList.add("over"); };
document.ondragleave = (event) => { if (!event.relatedTarget) find("drop").classList.remove("over"); };
document.ondrop = (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file && !find("file").disabled) sendFile(file);
};
find("by-path").onsubmit = (event) => {
  event.preventDefault();
  const input = event.target.elements.path.value.trim();
  const button = event.target.querySelector("button");
  button.disabled = true;
  attempt(async () => show({ input }, await ask("POST", "/facts", { input }))).finally(() => { button.disabled = false; });
};
