// The timeline of the memory panel. Read before memory_panel.js into the same function.

const HEIGHT = 118, TOP = 14, BOTTOM = 16, LEFT = 4, RIGHT = 4;

function niceCeiling(mib) {
  const steps = [64, 128, 256, 512, 1024, 2048, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 98304, 131072, 196608];
  return steps.find((step) => step >= mib * 1.08) || Math.ceil(mib / 65536) * 65536;
}
const axisWords = (mib) => (mib < 1024 ? (mib / 1024).toFixed(mib < 128 ? 2 : 1).replace(/0$/, '') : mib / 1024) + ' GiB';

function showTimeline() {
  const { full, now, points } = memory;
  const plot = find('.pm-plot');
  const width = plot.clientWidth;
  if (!width) return;
  const sums = points.map((point) => point.slice(1).reduce((sum, value) => sum + value, 0));
  const top = niceCeiling(Math.max(1, ...sums));
  const x = (time) => LEFT + (width - LEFT - RIGHT) * Math.min(1, Math.max(0, 1 - (now.t - time) / full.span));
  const y = (mib) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (mib / top);
  const svg = draw('svg', { viewBox: '0 0 ' + width + ' ' + HEIGHT, role: 'img' });
  svg.setAttribute('aria-label', timelineWords(sums, top));
  svg.append(patterns());
  addJobs(svg, x);
  addAreas(svg, x, y);
  if (full.limit !== null && full.limit <= top) {
    const level = Math.round(y(full.limit)) + 0.5;
    svg.append(draw('line', { x1: 0, x2: width, y1: level, y2: level }, 'limit'));
  }
  addGrid(svg, width, top, y);
  addMarks(svg, x);
  if (memory.cursor !== null) addCursor(svg, x);
  plot.replaceChildren(svg);
  find('.pm-at').textContent = cursorWords(sums);
}

function timelineWords(sums, top) {
  const low = Math.min(...sums), high = Math.max(...sums);
  const texts = memory.events.slice(-5).map((event) => clock(event[1]) + ' ' + event[3]);
  const range = sums.length ? 'between ' + gib(low) + ' and ' + gib(high) : 'no readings yet';
  return 'Memory held by Partwise in the last ' + lasting(memory.full.span) + ': ' + range + '. ' + texts.join('. ');
}

function patterns() {
  const defs = draw('defs', {});
  const add = (name, size, child) => {
    const pattern = draw('pattern', { id: prefix + name, width: size, height: size, patternUnits: 'userSpaceOnUse' });
    pattern.append(child);
    defs.append(pattern);
  };
  add('activations', 6, draw('path', { d: 'M-1 7 L7 -1 M-1 1 L1 -1 M5 7 L7 5' }, 'stripe'));
  add('cache', 5, draw('circle', { cx: 2.5, cy: 2.5, r: 1.1 }, 'dot'));
  add('context', 5, draw('path', { d: 'M2.5 0 V5' }, 'stripe'));
  return defs;
}
const patternOf = { activations: 'activations', workers: 'activations', cache: 'cache', context: 'context' };

function addGrid(svg, width, top, y) {
  for (const share of [0, 0.5, 1]) {
    const level = Math.round(y(top * share)) + 0.5;
    svg.append(draw('line', { x1: 0, x2: width, y1: level, y2: level }, 'grid'));
  }
  const words = [[0, y(top) + 12, 'start', axisWords(top)], [0, HEIGHT - 3, 'start', lasting(memory.full.span) + ' ago'], [width, HEIGHT - 3, 'end', 'now']];
  for (const [at, level, anchor, text] of words) {
    const label = draw('text', { x: at, y: level, 'text-anchor': anchor });
    label.textContent = text;
    svg.append(label);
  }
}

function addAreas(svg, x, y) {
  const { full, now } = memory;
  if (memory.points.length < 2) return;
  const newest = memory.points[memory.points.length - 1];
  const points = [...memory.points, [now.t, ...newest.slice(1)]]; // up to the right edge
  let below = points.map(() => 0);
  full.series.forEach((key, i) => {
    const above = points.map((point, j) => below[j] + point[i + 1]);
    if (points.some((point) => point[i + 1] > 0)) {
      const line = points.map((point, j) => x(point[0]).toFixed(1) + ' ' + y(above[j]).toFixed(1));
      const floor = points.map((point, j) => x(point[0]).toFixed(1) + ' ' + y(below[j]).toFixed(1)).reverse();
      const shape = 'M' + line.concat(floor).join(' L') + ' Z';
      svg.append(draw('path', { d: shape }, 'area k-' + key));
      if (patternOf[key]) svg.append(draw('path', { d: shape, fill: 'url(#' + prefix + patternOf[key] + ')' }, 'over'));
      svg.append(draw('path', { d: 'M' + line.join(' L') }, 'edge k-' + key));
    }
    below = above;
  });
}

function addJobs(svg, x) {
  const { now, full, events } = memory;
  const add = (from, to, text) => {
    if (to < now.t - full.span) return;
    const size = { width: Math.max(2, x(to) - x(from)), height: HEIGHT - TOP - BOTTOM };
    const band = draw('rect', { x: x(from), y: TOP, ...size }, 'job');
    band.append(draw('title', {}));
    band.firstChild.textContent = text;
    svg.append(band);
  };
  const isEnd = ([, , kind, , seconds]) => seconds !== null && (kind === 'job end' || kind === 'out of memory');
  for (const event of events.filter(isEnd)) add(event[1] - event[4], event[1], event[3]);
  const newest = events.filter((event) => event[2] === 'job start' || isEnd(event)).pop();
  if (now.b && newest && newest[2] === 'job start') add(newest[1], now.t, newest[3]);
}

function addMarks(svg, x) {
  const start = memory.now.t - memory.full.span;
  const shown = memory.events.filter(([, at, kind]) => at >= start && !['job', 'stage', 'plan'].includes(glyphOf(kind)));
  const edge = find('.pm-plot').clientWidth - RIGHT;
  const places = shown.map(([, at]) => x(at)); // glyphs of one moment stand side by side
  for (let i = 1; i < places.length; i += 1) places[i] = Math.max(places[i], places[i - 1] + 11);
  for (let i = places.length - 1, most = edge - 4; i >= 0; i -= 1, most -= 11) places[i] = Math.min(places[i], most);
  shown.forEach(([, at, kind, text], i) => {
    const glyph = glyphOf(kind);
    const mark = draw('g', { transform: 'translate(' + x(at).toFixed(1) + ' 0)' }, 'mark' + (glyph === 'bad' || glyph === 'step' ? ' bad' : ''));
    mark.append(draw('title', {}), draw('line', { x1: 0, x2: 0, y1: TOP - 2, y2: HEIGHT - BOTTOM }));
    mark.append(draw('path', { d: GLYPHS[glyph], transform: 'translate(' + (places[i] - x(at)).toFixed(1) + ' 6)' }));
    mark.firstChild.textContent = clock(at) + ' ' + text;
    svg.append(mark);
  });
}

function nearest() {
  const width = find('.pm-plot').clientWidth;
  const time = memory.now.t - memory.full.span * (1 - (memory.cursor - LEFT) / (width - LEFT - RIGHT));
  let best = 0;
  memory.points.forEach((point, i) => {
    if (Math.abs(point[0] - time) < Math.abs(memory.points[best][0] - time)) best = i;
  });
  return best;
}

function addCursor(svg, x) {
  if (!memory.points.length) return;
  const at = x(memory.points[nearest()][0]);
  svg.append(draw('line', { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }, 'cursor'));
}

function cursorWords(sums) {
  if (!sums.length) return '';
  if (memory.cursor === null) return gib(sums[sums.length - 1]) + ' now';
  const i = nearest();
  return gib(sums[i]) + ' at ' + clock(memory.points[i][0]);
}
