// Send a file in pieces. After a lost connection, a reload or a restart of the service, it goes on where it was.

import { ask, read, Refusal } from "./api.js";

const PIECE = 8 * 2 ** 20;
const PAUSE_MS = 2000;

export async function findUpload(file) {
  const known = { name: file.name, size: file.size, modified: file.lastModified };
  const uploads = await ask("GET", "/uploads");
  return uploads.find((upload) => Object.keys(known).every((key) => upload[key] === known[key]))
    ?? await ask("POST", "/uploads", known);
}

// Returns the upload's id and the facts of the file. `signal` stops it; what has arrived is kept.
export async function send(file, signal, tell) {
  let upload = await findUpload(file);
  let facts = null;
  while (facts === null) {
    tell(upload.offset, upload.size);
    try {
      const answer = await fetch(`/api/uploads/${upload.id}`, {
        method: "PATCH",
        headers: { "upload-offset": String(upload.offset) },
        body: file.slice(upload.offset, upload.offset + PIECE),
        signal,
      });
      upload = await read(answer);
      facts = upload.facts ?? null;
    } catch (error) {
      if (signal.aborted || (error instanceof Refusal && error.status !== 409)) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      upload = await ask("GET", `/uploads/${upload.id}`).catch((again) => {
        if (again instanceof Refusal) throw again;
        return upload;
      });
    }
  }
  return { upload: upload.id, facts };
}
