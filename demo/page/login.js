const form = document.getElementById("form"), error = document.getElementById("error");
form.addEventListener("submit", async (e) => {
  e.preventDefault();
  const answer = await fetch("login", { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => null);
  if (answer?.ok) return location.reload();
  error.textContent = answer ? "Wrong name or password." : "The server cannot be reached.";
});
