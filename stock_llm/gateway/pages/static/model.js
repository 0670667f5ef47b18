// The score of each version with its interval.
"use strict";

document.addEventListener("loaded", () => {
  const place = document.getElementById("scores");
  if (!place) return;
  const versions = JSON.parse(place.dataset.versions);
  const colour = pages.colour("accent");
  const none = { show: false };
  /** The interval of each version as a vertical line with its score on it. */
  const whiskers = (chart) => {
    const context = chart.ctx;
    context.save();
    context.strokeStyle = colour;
    context.lineWidth = 2 * devicePixelRatio;
    for (const [index, version] of versions.entries()) {
      if (version.low === null) continue;
      const x = chart.valToPos(index, "x", true);
      const cap = 5 * devicePixelRatio;
      const [low, high] = [chart.valToPos(version.low, "y", true), chart.valToPos(version.high, "y", true)];
      context.beginPath();
      context.moveTo(x, low);
      context.lineTo(x, high);
      for (const y of [low, high]) {
        context.moveTo(x - cap, y);
        context.lineTo(x + cap, y);
      }
      context.stroke();
    }
    context.restore();
  };
  drawLines(place, {
    scales: { x: { time: false, range: [-0.5, versions.length - 0.5] }, y: { range: [0, 1] } },
    axes: [
      { values: (_chart, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? versions[tick]?.name ?? "" : "")), grid: none },
      { size: 48 },
    ],
    series: [
      { label: place.dataset.version, value: (_chart, index) => versions[index]?.name ?? "" },
      { label: place.dataset.score, stroke: colour, width: 2, points: { show: true, size: 9, fill: colour }, value: (_chart, value) => value?.toFixed(3) ?? "" },
      { label: place.dataset.interval, points: none, value: (_chart, _value, _series, index) => (versions[index]?.low == null ? "" : `${versions[index].low.toFixed(3)} – ${versions[index].high.toFixed(3)}`) },
    ],
    hooks: { draw: [whiskers] },
  }, [versions.map((_, index) => index), versions.map((each) => each.score), versions.map(() => null)]);
});
