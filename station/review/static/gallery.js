// The gallery takes in what is new without losing its place: only tiles that look different are replaced.
import { calmly, listen } from "./live.js";

const tiles = document.getElementById("tiles");

async function renew() {
  const answer = await fetch(location.href, { headers: { "x-renewal": "1" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["statuses", "slides"]) {
    const [old, now] = [document.getElementById(id), fresh.getElementById(id)];
    if (old.innerHTML !== now.innerHTML) old.innerHTML = now.innerHTML;
  }
  document.querySelector(".pages").innerHTML = fresh.querySelector(".pages").innerHTML;
  if (fresh.querySelector(".tiles li")) document.getElementById("nothing")?.remove();
  exchange([...fresh.querySelectorAll("#tiles > li")]);
}

function exchange(wanted) {
  const focused = document.activeElement?.closest?.("#tiles > li")?.id;
  const known = tiles.children.length > 0;
  const kept = wanted.map((tile) => {
    const old = document.getElementById(tile.id);
    if (old && old.dataset.version === tile.dataset.version) return old;
    if (!old && known) tile.classList.add("fresh");
    return document.adoptNode(tile);
  });
  if (kept.length !== tiles.children.length || kept.some((tile, place) => tiles.children[place] !== tile)) {
    tiles.replaceChildren(...kept);
    if (focused) document.getElementById(focused)?.querySelector("a").focus();
  }
}

listen(calmly(renew, 400));

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  const links = [...tiles.querySelectorAll("a")];
  const place = links.indexOf(document.activeElement);
  const step = { n: 1, ArrowRight: 1, p: -1, ArrowLeft: -1 }[event.key];
  if (step === undefined || !links.length) return;
  event.preventDefault();
  links[Math.min(links.length - 1, Math.max(0, place + step))].focus();
});
