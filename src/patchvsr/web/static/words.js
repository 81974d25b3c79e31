// Choices and numbers in words.

// Each choice: what is said, and the settings of the service that it stands for.
export const CHOICES = {
  size: [
    ["4 times as wide and high", { scale: 4 }],
    ["2 times as wide and high", { scale: 2 }],
    ["Full HD (1920 × 1080)", { size: "1080p" }],
    ["4K (3840 × 2160)", { size: "4k" }],
    ["8K (7680 × 4320)", { size: "8k" }],
    ["The same size, only cleaner", { scale: 1 }],
  ],
  restoration: [
    ["clean or damaged: the model judges each shot", {}],
    ["clean, only small: keep every detail", { restoration: 0 }],
    ["a little compressed or noisy", { restoration: 0.5 }],
    ["noisy, blurred or badly compressed", { restoration: 1 }],
  ],
  container: [
    ["MKV: keeps all sound, subtitles and fonts", "mkv"],
    ["MP4: plays nearly everywhere", "mp4"],
    ["MOV: for editing", "mov"],
    ["WebM: for the web", "webm"],
  ],
  codec: [
    ["the usual one for this file", {}],
    ["H.264: plays everywhere", { codec: "h264" }],
    ["H.265: smaller", { codec: "hevc" }],
    ["AV1: smallest, slow", { codec: "av1" }],
    ["ProRes: for editing (MOV)", { codec: "prores" }],
    ["FFV1: lossless, very large (MKV)", { codec: "ffv1" }],
  ],
  deinterlace: [
    ["refuse them", {}],
    ["one whole frame of each", { deinterlace: "frame" }],
    ["two, for smooth motion", { deinterlace: "field" }],
    ["they are wrongly marked: leave them", { deinterlace: "off" }],
  ],
};

export const STATES = {
  submitted: "waiting", running: "running", paused: "paused", done: "done", failed: "failed", cancelled: "cancelled",
};
const PHASES = {
  starting: "starting", loading: "loading the model", scanning: "reading the video", restoring: "restoring",
  assembling: "putting the file together", measuring: "measuring the result",
};

export function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const text = parts.map((part) => String(part).padStart(2, "0")).join(":");
  return `${text.replace(/^00:/, "")}.${Math.floor((seconds % 1) * 100).toString().padStart(2, "0")}`;
}

const UNKNOWN_FRAME_S = 0.1;

// When the last frame begins: later moments have no picture.
export function lastMoment(duration_s, frames) {
  if (!duration_s) return 0;
  return Math.max(0, duration_s - (frames ? duration_s / frames : UNKNOWN_FRAME_S));
}

export function bytes(count) {
  for (const unit of ["bytes", "KiB", "MiB", "GiB"]) {
    if (count < 1024 || unit === "GiB") return `${count >= 100 || unit === "bytes" ? Math.round(count) : count.toFixed(1)} ${unit}`;
    count /= 1024;
  }
}

export function summary(facts) {
  const parts = [`${facts.width} × ${facts.height} pixels`, facts.codec.toUpperCase()];
  if (facts.duration_s) parts.unshift(duration(facts.duration_s));
  for (const type of ["audio", "subtitle"]) {
    const count = facts.streams.filter((stream) => stream.type === type).length;
    if (count) parts.push(`${count} ${type === "audio" ? "sound" : "subtitle"} ${count === 1 ? "track" : "tracks"}`);
  }
  return [...parts, bytes(facts.bytes)].join(", ");
}

export function streamName(stream) {
  return [`${stream.index}: ${stream.type}`, stream.codec, stream.language, stream.title].filter(Boolean).join(", ");
}

export function estimateText(plan) {
  return `About ${duration(plan.seconds)} for ${plan.frames} frames of ${plan.output_size[0]} × ${plan.output_size[1]}. `
    + `Memory: ${plan.memory_gib.toFixed(1)} GiB, ${plan.free_memory_gib.toFixed(1)} GiB are free. `
    + `Disk: ${bytes(plan.disk_gib * 2 ** 30)} while it works, ${bytes(plan.output_gib * 2 ** 30)} in the end.`;
}

export function jobText(job) {
  const size = `${job.input_size.join(" × ")} → ${job.output_size.join(" × ")}`;
  if (job.state !== "running") {
    const took = job.state === "done" ? `, ${job.frames} frames` : "";
    const begun = ["paused", "cancelled", "submitted"].includes(job.state) && job.frames_done
      ? `, ${job.frames_done} of ${job.frames ?? "?"} frames so far` : "";
    return `${STATES[job.state]}${took}${begun} · ${size}`;
  }
  const parts = [PHASES[job.phase] ?? job.phase ?? "running"];
  if (job.frames_done) parts.push(`${job.frames_done} of ${job.frames ?? "?"} frames`);
  if (job.frames_per_second) parts.push(`${job.frames_per_second.toFixed(2)} frames a second`);
  if (job.seconds_left != null) parts.push(`about ${duration(job.seconds_left)} left`);
  if (job.wanted) parts.push(job.wanted === "paused" ? "pausing after this unit" : "stopping");
  return `${parts.join(", ")} · ${size}`;
}

function range(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(2));
  return least === most ? least : `${least} to ${most}`;
}

// The figures of a report that say something to a person.
export function reportRows({ job, measures }) {
  const seams = measures.seams.output.ratio_of_means;
  const restorations = job.units.flatMap((unit) => unit.restoration ?? []).filter((value) => value != null);
  const rows = [
    ["Frames", `${job.frames}, in ${job.shots} ${job.shots === 1 ? "shot" : "shots"}; all of them are there`],
    ["Time to restore", duration(job.seconds)],
    ["Seams", seams == null ? "none possible: the frame is one patch" : `${seams.toFixed(2)} (1.00: none that can be measured)`],
    ["Flicker", measures.flicker ? `${measures.flicker.score.toFixed(2)} times that of plain enlarging` : null],
    ["Colour", `differs by ${measures.chroma_difference_levels.toFixed(2)} of 255 levels from the input`],
    ["Restoration", restorations.length ? `${range(restorations)} (0 sharpens only, 1 cleans)` : null],
    ["Codec", job.settings.output.encoder],
    ["Computed on", job.versions.device],
  ];
  return rows.filter(([, value]) => value != null);
}
