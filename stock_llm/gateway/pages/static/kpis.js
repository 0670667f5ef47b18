// Calls of each day: answered, without an answer, and what was charged.
"use strict";

document.addEventListener("loaded", () => {
  const place = document.getElementById("days");
  if (!place) return;
  const days = JSON.parse(place.dataset.days);
  const names = days.map((each) => each.day);
  const bars = uPlot.paths.bars({ size: [0.6, 40] });
  drawLines(place, {
    scales: { x: { time: false, range: [-0.7, days.length - 0.3] }, y: { range: (_chart, _low, high) => [0, Math.max(1, high * 1.1)] }, money: { range: (_chart, _low, high) => [0, Math.max(0.01, high * 1.2)] } },
    axes: [
      { values: (_chart, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? names[tick]?.slice(5) ?? "" : "")), grid: { show: false } },
      { size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] },
      { scale: "money", side: 1, size: 64, grid: { show: false }, values: (_chart, ticks) => ticks.map((tick) => `$${tick}`) },
    ],
    series: [
      { label: place.dataset.day, value: (_chart, index) => names[index] ?? "" },
      { label: place.dataset.calls, fill: pages.colour("accent"), stroke: pages.colour("accent"), paths: bars, points: { show: false } },
      { label: place.dataset.failed, fill: pages.colour("bad"), stroke: pages.colour("bad"), paths: bars, points: { show: false } },
      { label: place.dataset.charged, scale: "money", stroke: pages.colour("warn"), width: 2, points: { show: days.length < 40 } },
    ],
  }, [days.map((_, index) => index), days.map((each) => each.calls), days.map((each) => each.failed), days.map((each) => each.charged)]);
});
