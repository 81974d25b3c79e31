// Small helpers for the document. Text is always set as text, never as HTML.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function fromTemplate(id) {
  return document.getElementById(id).content.cloneNode(true);
}

export function fillList(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
}

// Lets a button do nothing more while its work runs, and shows what went wrong, if anything. Disabled, it would lose the
// focus, and who uses the keyboard their place.
export async function during(button, errors, work) {
  if (button.ariaBusy) return;
  const label = button.textContent;
  button.ariaBusy = "true";
  button.textContent = "One moment…";
  errors.textContent = "";
  try {
    return await work();
  } catch (error) {
    errors.textContent = error.message;
  } finally {
    button.ariaBusy = null;
    button.textContent = label;
  }
}
