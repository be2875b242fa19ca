"use strict";
// Shows the rows that fit the form. Without scripts all rows stand there and the form does not.
const form = document.getElementById("filter");
const told = document.getElementById("found");
const rows = [...document.querySelectorAll(".row")];
const texts = rows.map((row) => row.textContent.toLowerCase());
const fields = ["set", "kind", "source", "status"].filter((name) => form.elements[name]);

function show() {
  const words = form.elements.words.value.toLowerCase();
  let count = 0;
  rows.forEach((row, at) => {
    const fits = texts[at].includes(words) && fields.every((name) => {
      const wanted = form.elements[name].value;
      return !wanted || row.dataset[name].split(" ").includes(wanted);
    });
    row.hidden = !fits;
    count += fits;
  });
  told.textContent = `${count} of ${rows.length} rows shown`;
}

form.addEventListener("input", show);
form.addEventListener("reset", () => setTimeout(show));
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
show();
