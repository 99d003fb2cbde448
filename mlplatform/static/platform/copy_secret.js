// The clipboard is closed to pages without https on other hosts; then the text is selected, ready for Ctrl-C.
document.getElementById("copy").addEventListener("click", async () => {
  const secret = document.getElementById("secret"), told = document.getElementById("copied");
  getSelection().selectAllChildren(secret);
  try {
    await navigator.clipboard.writeText(secret.textContent);
    told.textContent = "Copied";
  } catch {
    told.textContent = "Selected: press Ctrl-C";
  }
});
