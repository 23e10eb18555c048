// The notice over the photo: what long work is doing, how far it is, and a button to cancel it. Of several, the newest is shown.
import { $ } from "./ui.js";

const QUICK = 150; // ms; no notice for anything quicker

const open = [];
let later = 0;

function refresh() {
  const one = open.at(-1);
  clearTimeout(later);
  if (!one?.text) return ($("busy").hidden = true);
  $("busy-text").textContent = one.text;
  if (one.share === undefined || one.share >= 1) $("busy-bar").removeAttribute("value");
  else $("busy-bar").value = one.share;
  if ($("busy").hidden) later = setTimeout(() => ($("busy").hidden = false), Math.max(0, one.since + QUICK - performance.now()));
}

/** Begin a notice; stop(): cancels the work. Returns {tell(text, share from 0 to 1), end()}. */
export function notice(stop) {
  const one = { stop, text: "", share: undefined, since: performance.now() };
  open.push(one);
  return {
    tell: (text, share) => {
      Object.assign(one, { text, share });
      refresh();
    },
    end: () => {
      open.splice(open.indexOf(one), 1);
      refresh();
    },
  };
}

export const startNotices = () => $("busy-stop").addEventListener("click", () => open.at(-1)?.stop());

/** The words for waiting in the server's queue. */
export const waitingFor = (ahead) => `Waiting for ${ahead} other${ahead > 1 ? "s" : ""}`;
