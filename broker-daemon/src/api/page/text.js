// The words of the page: one file a language.
let words = {};

export const word = (key) => words[key] ?? key;

export function preferred() {
  const kept = localStorage.getItem("language");
  const wanted = kept ?? navigator.language.slice(0, 2);
  return wanted === "pt" ? "pt" : "en";
}

export async function use(language) {
  words = await (await fetch(`/lang/${language}.json`)).json();
  document.documentElement.lang = language;
  localStorage.setItem("language", language);
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = word(element.dataset.t);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", word(element.dataset.label));
  }
}
