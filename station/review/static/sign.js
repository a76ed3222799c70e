// Sent by script, so that the browser names the page's origin also where it does not for a form. On this machine it works
// without script, too.
document.addEventListener("submit", async (event) => {
  if (event.target.id !== "sign") return;
  event.preventDefault();
  const form = event.target;
  form.querySelector("button").disabled = true;
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (answer.redirected) { location.assign(answer.url); return; }
  const text = await answer.text();
  const main = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  if (main) document.querySelector("main").replaceWith(document.adoptNode(main));
  else document.getElementById("live").textContent = text;
});
