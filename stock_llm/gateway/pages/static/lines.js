// Charts of lines and bars, by uPlot, in the colours of the theme.
"use strict";

/** Draws a chart as wide as its place, and again when that changes. */
function drawLines(place, options, data) {
  const axis = { stroke: pages.colour("muted"), grid: { stroke: pages.colour("line"), width: 1 }, ticks: { stroke: pages.colour("line"), width: 1 } };
  const height = 220;
  const chart = new uPlot({
    width: place.clientWidth,
    height,
    cursor: { drag: { x: false, y: false } },
    ...options,
    axes: options.axes.map((each) => ({ ...axis, ...each })),
  }, data, place);
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height })).observe(place);
  return chart;
}
