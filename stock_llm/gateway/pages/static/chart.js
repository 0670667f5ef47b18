// The candles of a stock with its levels, by TradingView's Lightweight Charts.
"use strict";

/** Draws a chart into an element; returns a function that takes it away again. */
function drawCandles(place, data, names) {
  const colours = { up: pages.colour("good"), down: pages.colour("bad") };
  const chart = LightweightCharts.createChart(place, {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: pages.colour("muted"), fontFamily: "inherit", attributionLogo: false },
    grid: { vertLines: { visible: false }, horzLines: { color: pages.colour("line") } },
    rightPriceScale: { borderVisible: false },
    timeScale: { borderVisible: false },
    handleScroll: { mouseWheel: false, vertTouchDrag: false },
    handleScale: { mouseWheel: false },
    localization: { locale: document.documentElement.lang, dateFormat: "yyyy-MM-dd" },
  });
  const series = chart.addSeries(LightweightCharts.CandlestickSeries, {
    upColor: colours.up, downColor: colours.down, wickUpColor: colours.up, wickDownColor: colours.down, borderVisible: false,
  });
  series.setData(data.candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close })));
  const styles = { support: colours.up, resistance: colours.down, cost: pages.colour("accent") };
  for (const level of data.levels) {
    series.createPriceLine({ price: level.price, color: styles[level.kind], lineWidth: 1, lineStyle: 2, title: names[level.kind], axisLabelVisible: true });
  }
  chart.timeScale().setVisibleLogicalRange({ from: data.candles.length - 120, to: data.candles.length + 3 });
  return () => chart.remove();
}
