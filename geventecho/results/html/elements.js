// Elements are updated in place, and only changed texts are written. So selection, focus, scroll positions and the
// position of a screen reader are kept. All text is set as text, never as HTML.
window.TcpElements = (() => {
  "use strict";

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function setText(target, text) {
    if (target.textContent !== text) target.textContent = text;
  }

  function setClass(target, name) {
    if (target.className !== name) target.className = name;
  }

  function setHidden(target, isHidden) {
    if (target.hidden !== isHidden) target.hidden = isHidden;
  }

  // A cell is a text or {text, note, tone}. The note is below the text; the tone is a class.
  function fill(target, cell) {
    const { text, note = "", tone = "" } = typeof cell === "string" ? { text: cell } : cell;
    if (!target.firstChild) target.append(element("span", { dir: "auto" }));
    setText(target.firstChild, text);
    if (note && !target.children[1]) target.append(element("small", { dir: "auto" }));
    if (target.children[1]) setText(target.children[1], note);
    setClass(target, tone);
  }

  // A table of lines. A line is an array of cells; its first cell is its header. A line of one cell is the header of the
  // lines after it. The header of a column is a text or [text, tone].
  function table(section, caption, heads) {
    const made = element("table", {}, element("caption", {}, caption));
    const top = element("tr", {}, ...heads.map((head) => {
      const [text, tone] = [head].flat();
      return element(text ? "th" : "td", { ...(text && { scope: "col" }), ...(tone && { class: tone }) }, text);
    }));
    made.append(element("thead", {}, top));
    section.append(element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, made));
    const shown = [];

    function add(line) {
      const isGroup = line.length === 1;
      if (isGroup || !shown.length) made.append(element("tbody"));
      const cells = line.map((_, index) => element(index ? "td" : "th", index ? {} : { scope: isGroup ? "rowgroup" : "row" }));
      if (isGroup) cells[0].setAttribute("colspan", heads.length);
      made.lastChild.append(element("tr", isGroup ? { class: "group" } : {}, ...cells));
      shown.push(cells);
    }

    function removeFrom(index) {
      for (const [head] of shown.splice(index)) {
        const body = head.parentNode.parentNode;
        head.parentNode.remove();
        if (!body.children.length) body.remove();
      }
    }

    return {
      update(lines) {
        const kept = lines.findIndex((line, index) => shown[index]?.length !== line.length);
        removeFrom(kept < 0 ? lines.length : kept);
        lines.forEach((line, index) => {
          if (!shown[index]) add(line);
          line.forEach((cell, column) => fill(shown[index][column], cell));
        });
      },
    };
  }

  // A list of elements with one tag, one element for each cell.
  function list(parent, tag) {
    return {
      update(cells) {
        while (parent.children.length > cells.length) parent.lastChild.remove();
        while (parent.children.length < cells.length) parent.append(element(tag));
        cells.forEach((cell, index) => fill(parent.children[index], cell));
      },
    };
  }

  return { element, fill, list, setClass, setHidden, setText, table };
})();
