// The search of the documentation's pages, and the folded navigation of narrow screens. Texts go in
// as text, never as HTML.
(function () {
  "use strict";
  var box = document.getElementById("search");
  var input = box.querySelector("input");
  var found = document.getElementById("found");
  var index = window.searchIndex || [];
  box.hidden = false;
  if (window.matchMedia("(max-width: 60rem)").matches) {
    document.querySelector("nav details").open = false;
  }

  // How well an entry [address, title, page, text] answers the words; 0: not at all.
  function worth(entry, words) {
    var title = entry[1].toLowerCase();
    var text = (entry[2] + " " + entry[3]).toLowerCase();
    var sum = 0;
    for (var i = 0; i < words.length; i++) {
      var word = words[i];
      var part = title === word ? 20 : title.split(/[^a-z0-9_]+/).indexOf(word) >= 0 ? 10
        : title.indexOf(word) >= 0 ? 6 : text.indexOf(word) >= 0 ? 1 : 0;
      if (!part) return 0;
      sum += part;
    }
    return sum;
  }

  function show() {
    var words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    found.textContent = "";
    found.hidden = words.length === 0;
    if (found.hidden) return;
    var list = [];
    index.forEach(function (entry, place) {
      var value = worth(entry, words);
      if (value) list.push([value, place]);
    });
    list.sort(function (a, b) { return b[0] - a[0] || a[1] - b[1]; });
    list.slice(0, 20).forEach(function (one) {
      var entry = index[one[1]];
      var item = document.createElement("li");
      var link = document.createElement("a");
      var where = document.createElement("small");
      link.href = entry[0];
      link.textContent = entry[1];
      where.textContent = entry[2] + " · " + entry[3].slice(0, 90);
      link.appendChild(where);
      item.appendChild(link);
      found.appendChild(item);
    });
    if (!list.length) {
      var none = document.createElement("p");
      none.textContent = "Nothing is found.";
      found.appendChild(none);
    }
  }

  function step(by) {
    var links = Array.prototype.slice.call(found.querySelectorAll("a"));
    var at = links.indexOf(document.activeElement) + by;
    if (at < 0) input.focus();
    else if (links[at]) links[at].focus();
  }

  input.addEventListener("input", show);
  document.addEventListener("keydown", function (event) {
    var typing = document.activeElement === input;
    var inside = box.contains(document.activeElement);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      input.focus();
      input.select();
    } else if (inside && event.key === "Escape") {
      input.value = "";
      show();
      input.focus();
    } else if (inside && event.key === "ArrowDown") {
      event.preventDefault();
      step(1);
    } else if (inside && event.key === "ArrowUp") {
      event.preventDefault();
      step(-1);
    } else if (typing && event.key === "Enter") {
      var first = found.querySelector("a");
      if (first) first.click();
    }
  });
  found.addEventListener("click", function () { found.hidden = true; });
  document.addEventListener("click", function (event) {
    if (!box.contains(event.target)) found.hidden = true;
  });
})();
