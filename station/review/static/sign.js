// Sent by script, so that the browser names the page's origin also where it does not for a form. On this machine it works
// without script, too.
document.addEventListener("submit", async (event) => {
  if (event.target.id !== "sign") return;
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  const body = new URLSearchParams(new FormData(form));
  const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
  if (!answer) {
    document.getElementById("live").textContent = "Not signed: the station does not answer";
    button.disabled = false;
    return;
  }
  if (answer.redirected) { location.assign(answer.url); return; }
  const text = await answer.text();
  const main = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  if (main) document.querySelector("main").replaceWith(document.adoptNode(main));
  else {
    document.getElementById("live").textContent = text;
    button.disabled = false;
  }
});
