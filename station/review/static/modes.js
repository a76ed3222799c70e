// What a click means. Each mode gets the page, the place in the picture and the number of the cell there, if any.

const point = ({ x, y }) => [Math.round(x * 10) / 10, Math.round(y * 10) / 10];

export const MODES = {
  look: {
    hint: "Click a cell to find it in the table. Drag to move, wheel to zoom.",
    click(page, place, cell) { page.choose(cell); },
  },
  add: {
    hint: "Click into the middle of a white cell that was missed. It is outlined by its colour.",
    click(page, place) { const [x, y] = point(place); page.send("add", { x, y }); },
  },
  remove: {
    hint: "Click what is no white cell.",
    click(page, place, cell) { if (page.needs(cell)) page.send("remove", { cell_id: cell }); },
  },
  split: {
    hint: "Click twice into one outline: once into each of the two cells.",
    click(page, place, cell) {
      const { first } = page;
      if (!first) {
        if (!page.needs(cell)) return;
        page.choose(cell);
        page.remember({ cell, points: [point(place)] }, place);
        page.hint(`Now click into the other cell of outline ${cell}.`);
        return;
      }
      page.forget();
      page.send("split", { cell_id: first.cell, points: [...first.points, point(place)] });
    },
  },
  merge: {
    hint: "Click two outlines that are one cell.",
    click(page, place, cell) {
      if (!page.needs(cell)) return;
      const { first } = page;
      if (!first || first.cell === cell) {
        page.choose(cell);
        page.remember({ cell }, place);
        page.hint(`Now click the other part of cell ${cell}.`);
        return;
      }
      page.forget();
      page.send("merge", { cell_ids: [first.cell, cell] });
    },
  },
  repaint: {
    hint: "Choose a cell, or click it; then paint over it. Apply sends all strokes.",
    click() {},
  },
};
