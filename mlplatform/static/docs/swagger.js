"use strict";

// Swagger UI has a dark theme that it shows when the page's root says so.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// An operation's address is a text: a link inside the button that opens it would be two things to press in one place.
const plainAddress = () => ({
  wrapComponents: { DeepLink: (_, system) => (props) => system.React.createElement("span", { className: "nostyle" }, props.text) },
});

window.SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.document,
  dom_id: "#swagger-ui",
  deepLinking: true,
  plugins: [plainAddress],
  tryItOutEnabled: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  validatorUrl: null,
});
