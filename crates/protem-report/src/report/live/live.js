// Brings the page up to date: asks every two seconds for those parts whose version is another than the
// page's, and says when nobody answers.
"use strict";

const PAUSE = 2000; // ms
const PATIENCE = 10000;
const connection = document.getElementById("connection");
let waiting = null;
let answered = new Date();

function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
  connection.hidden = text === "";
}

// What a reader has opened stays open.
function replace(element, part) {
  const open = Array.from(element.querySelectorAll("details"), (details) => details.open);
  const wide = Array.from(element.querySelectorAll(".wide"), (wide) => wide.scrollLeft);
  element.innerHTML = part.html;
  element.dataset.version = part.version;
  element.querySelectorAll("details").forEach((details, i) => { details.open = open[i] ?? false; });
  element.querySelectorAll(".wide").forEach((table, i) => { table.scrollLeft = wide[i] ?? 0; });
}

async function update() {
  const known = new URLSearchParams();
  for (const element of document.querySelectorAll("[data-version]")) known.set(element.id, element.dataset.version);
  const answer = await fetch(`changes?${known}`, { signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 404) {
    say("This run is gone from its folder: what is shown is the last that was seen of it.");
    return;
  }
  if (!answer.ok) throw new Error(answer.statusText);
  for (const [id, part] of Object.entries(await answer.json())) {
    const element = document.getElementById(id);
    // Of a run that could not be shown there was little.
    if (!element) return location.reload();
    replace(element, part);
  }
  answered = new Date();
  say("");
}

async function look() {
  clearTimeout(waiting);
  waiting = null;
  if (document.hidden) return; // until it is shown again
  try {
    await update();
  } catch {
    say(`The server does not answer: what is shown is of ${answered.toLocaleTimeString()}. The page goes on by itself once protem serve runs again.`);
  }
  clearTimeout(waiting);
  waiting = setTimeout(look, PAUSE);
}

if (connection) {
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  waiting = setTimeout(look, PAUSE);
}
