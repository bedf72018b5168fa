// What the page asks of its server, with the token where the server wants one.

const TOKEN = "visloc token"; // as long as the tab is open

export function token() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function headers() {
  return token() ? { Authorization: `Bearer ${token()}` } : {};
}

export async function words(response) {
  // Why a request was refused, in the server's words.
  try {
    const detail = (await response.json()).detail;
    return typeof detail === "string" ? detail : detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  } catch {
    return `The server answers with status ${response.status}.`;
  }
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers() });
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
  if (response.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  if (!response.ok) throw new Error(await words(response));
  return response;
}

export async function json(path, options) {
  const response = await ask(path, options);
  return response.status === 204 ? null : response.json();
}

let asking = null;

function askForToken() {
  // One dialog, however many requests wait for it.
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token-dialog"), input = document.getElementById("token");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(TOKEN, input.value);
      asking = null;
      resolve();
    }, { once: true });
    input.value = "";
    dialog.showModal();
  });
  return asking;
}

export function mapPath(name, rest = "") {
  return `reference/maps/${encodeURIComponent(name)}${rest}`;
}
