// Draws the memory panel. The server sends one small reading a second and, when asked, a full one
// with history and texts. All texts go in as text, never as HTML.
const root = element.querySelector('.pm');
const find = (name) => root.querySelector(name);
const SVG = 'http://www.w3.org/2000/svg';
const GLYPHS = {
  load: 'M0 -4.5 L4.5 3.5 H-4.5 Z',
  unload: 'M0 4.5 L4.5 -3.5 H-4.5 Z',
  bad: 'M-4 -2.6 L-2.6 -4 L0 -1.4 L2.6 -4 L4 -2.6 L1.4 0 L4 2.6 L2.6 4 L0 1.4 L-2.6 4 L-4 2.6 L-1.4 0 Z',
  job: 'M-3.5 -3.5 H3.5 V3.5 H-3.5 Z',
  device: 'M0 -4.5 L4.5 0 L0 4.5 L-4.5 0 Z',
};
const memory = { full: null, now: null, points: [], events: [], askedAt: 0, cursor: null };
const prefix = 'pm' + Math.random().toString(36).slice(2, 8);

const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const draw = (tag, attributes, className) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (className) node.setAttribute('class', className);
  return node;
};
const gib = (mib) => {
  if (mib === null || mib === undefined) return 'unknown';
  if (mib === 0) return '0 GiB';
  return mib < 51.2 ? '< 0.1 GiB' : (mib / 1024).toFixed(1) + ' GiB';
};
const bare = (mib) => gib(mib).replace(' GiB', '');
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
const lasting = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  return whole < 90 ? whole + ' s' : Math.round(whole / 60) + ' min';
};
const glyphOf = (kind) =>
  kind === 'load' || kind === 'unload' || kind === 'device' ? kind : kind.startsWith('job') ? 'job' : 'bad';

// --- what arrives

function take(data) {
  if (!data || typeof data !== 'object') return ask();
  if (data.full) {
    memory.full = data.full;
    memory.points = data.full.points;
    memory.events = [];
  }
  memory.now = data;
  const last = memory.points.length ? memory.points[memory.points.length - 1][0] : 0;
  if (data.p && data.p[0] > last) memory.points.push(data.p);
  const start = data.t - (memory.full ? memory.full.span : 120) - 2;
  while (memory.points.length && memory.points[0][0] < start) memory.points.shift();
  const known = new Set(memory.events.map((event) => event[0]));
  memory.events.push(...data.e.filter((event) => !known.has(event[0])));
  memory.events = memory.events.sort((a, b) => a[0] - b[0]).slice(-40);
  if (data.r !== undefined) finishUnload(data.r);
  const isBehind = data.p && last && data.p[0] - last > 5;
  const isMissing = memory.events.length && memory.events[memory.events.length - 1][0] < data.n;
  if (!memory.full || memory.full.d !== data.d || isBehind || isMissing) ask();
  if (memory.full) show();
}

function ask() {
  if (Date.now() - memory.askedAt < 1500) return;
  memory.askedAt = Date.now();
  trigger('refresh');
}

// --- what is shown

function show() {
  const { full, now } = memory;
  root.dataset.state = 'ready';
  const total = now.m.reduce((sum, value) => sum + value, 0);
  const free = now.m[full.keys.indexOf(full.keys.includes('free') ? 'free' : 'unknown')];
  find('.pm-device').textContent = full.device;
  find('.pm-used').textContent = ((total - (free || 0)) / 1024).toFixed(1);
  find('.pm-of').textContent = 'of ' + gib(total) + ' in use';
  const note = find('.pm-note');
  note.hidden = !full.note;
  note.textContent = full.note;
  note.dataset.tone = full.tone;
  showBar(find('.pm-main'), find('.pm-main-legend'), full.keys, now.m, full.labels, full.place);
  find('.pm-host').hidden = !now.h;
  if (now.h) {
    const host = now.h.reduce((sum, value) => sum + value, 0);
    const used = host - now.h[now.h.length - 1];
    find('.pm-host-total').textContent = (used / 1024).toFixed(1) + ' of ' + gib(host);
    showBar(find('.pm-thin'), find('.pm-host-legend'), full.hostKeys, now.h, full.labels, 'Host memory');
  }
  find('.pm-time-title').textContent = 'Partwise, last ' + lasting(full.span);
  showTimeline();
  showModels();
  showNumbers();
  showEvents();
}

function showBar(bar, legend, keys, values, labels, place) {
  const total = values.reduce((sum, value) => sum + (value || 0), 0) || 1;
  const words = [];
  keys.forEach((key, i) => {
    const value = values[i];
    let segment = bar.children[i];
    if (!segment) segment = bar.appendChild(make('div'));
    segment.className = 'pm-seg k-' + key + (value && key !== 'free' ? ' is-held' : '');
    segment.style.flexGrow = (value || 0) / total;
    segment.style.display = value ? '' : 'none';
    segment.title = labels[key] + ': ' + gib(value);
    words.push(labels[key] + ' ' + gib(value));
    let item = legend.children[i];
    if (!item) {
      item = legend.appendChild(make('li'));
      item.append(make('i', 'pm-key'), make('span'), make('b'));
    }
    item.children[0].className = 'pm-key k-' + key;
    item.children[1].textContent = labels[key];
    item.children[2].textContent = bare(value);
  });
  for (const list of [bar, legend]) while (list.children.length > keys.length) list.lastChild.remove();
  bar.setAttribute('aria-label', place + ': ' + words.join(', '));
}

function showModels() {
  const { full, now } = memory;
  const list = find('.pm-models');
  const open = new Set([...list.querySelectorAll('details[open]')].map((node) => node.dataset.name));
  const focused = document.activeElement && list.contains(document.activeElement);
  const shape = JSON.stringify([now.c, full.models]);
  if (focused && list.dataset.names === full.models.map((model) => model.title).join()) {
    if (list.dataset.shape === shape) return;
  } else if (list.dataset.shape === shape) return;
  list.dataset.shape = shape;
  list.dataset.names = full.models.map((model) => model.title).join();
  const focusName = focused && document.activeElement.closest('details')?.dataset.name;
  list.replaceChildren(...full.models.map((model, i) => modelItem(model, now.c[i], open)));
  if (!full.models.length) list.append(make('li', '', 'No models are known.'));
  if (focusName) {
    const same = [...list.querySelectorAll('details')].find((node) => node.dataset.name === focusName);
    same?.querySelector('summary').focus();
  }
}

function modelItem(model, figures, open) {
  const [state, leases, idle, size] = figures;
  const isLoaded = state === 'loaded';
  const item = make('li', isLoaded ? 'is-loaded' : state.endsWith('loading') ? 'is-moving' : '');
  const name = make('span', 'pm-name', model.title);
  if (isLoaded && model.precision) name.append(make('small', '', model.precision));
  item.append(make('i', 'pm-dot'), name);
  if (model.why) {
    const isAbsent = model.why.includes('weights not present');
    const why = isAbsent ? 'weights not present: what it needs' : 'cannot be loaded here: why';
    const details = make('details');
    details.dataset.name = model.title;
    details.open = open.has(model.title);
    details.append(make('summary', '', why), make('div', '', model.why));
    item.append(details);
    return item;
  }
  item.append(make('span', 'pm-size', isLoaded ? gib(size) : ''));
  item.append(make('p', '', modelWords(state, leases, idle)));
  return item;
}

function modelWords(state, leases, idle) {
  if (state !== 'loaded') return state === 'not loaded' ? 'not loaded; loads when it is needed' : state + ' …';
  if (leases) return 'in use, cannot be unloaded now';
  const rest = memory.full.idle - idle;
  const leaves = memory.full.idle ? ', leaves in ' + lasting(rest) : '';
  return 'loaded, idle for ' + lasting(idle) + leaves;
}

function showNumbers() {
  const { full, now } = memory;
  const body = find('.pm-numbers tbody');
  full.rows.forEach((label, i) => {
    let row = body.children[i];
    if (!row) {
      row = body.appendChild(make('tr'));
      const head = make('th');
      head.scope = 'row';
      row.append(head, make('td'));
    }
    row.children[0].textContent = label;
    row.children[1].textContent = gib(now.f[i]);
  });
  while (body.children.length > full.rows.length) body.lastChild.remove();
  const limit = full.idle ? 'A model that is idle for ' + lasting(full.idle) + ' is unloaded.' : 'Idle models stay loaded.';
  find('.pm-idle').textContent = limit;
}

function showEvents() {
  const list = find('.pm-events');
  const newest = memory.events.slice(-5).reverse();
  const shape = newest.map((event) => event[0]).join();
  if (list.dataset.shape === shape && list.children.length) return;
  list.dataset.shape = shape;
  list.replaceChildren(...newest.map(([, at, kind, text]) => {
    const glyph = glyphOf(kind);
    const item = make('li', glyph === 'bad' ? 'bad' : '');
    const mark = draw('svg', { viewBox: '-5 -5 10 10', 'aria-hidden': 'true' });
    mark.append(draw('path', { d: GLYPHS[glyph] }));
    item.append(mark, make('time', '', clock(at)), make('span', '', text));
    return item;
  }));
  if (!newest.length) list.append(make('li', 'none', 'Nothing yet: loads, unloads and jobs are noted here.'));
}

// --- the timeline

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
  let last = -99;
  for (const [, at, kind, text] of memory.events) {
    const glyph = glyphOf(kind);
    if (glyph === 'job' || at < start) continue;
    const aside = Math.max(0, last + 11 - x(at)); // glyphs of one moment stand side by side
    last = x(at) + aside;
    const mark = draw('g', { transform: 'translate(' + x(at).toFixed(1) + ' 0)' }, 'mark' + (glyph === 'bad' ? ' bad' : ''));
    mark.append(draw('title', {}), draw('line', { x1: 0, x2: 0, y1: TOP - 2, y2: HEIGHT - BOTTOM }));
    mark.append(draw('path', { d: GLYPHS[glyph], transform: 'translate(' + aside.toFixed(1) + ' 6)' }));
    mark.firstChild.textContent = clock(at) + ' ' + text;
    svg.append(mark);
  }
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

// --- what a person does

const plot = find('.pm-plot');
plot.addEventListener('pointermove', (event) => {
  memory.cursor = event.clientX - plot.getBoundingClientRect().left;
  if (memory.full) showTimeline();
});
plot.addEventListener('pointerleave', () => {
  memory.cursor = null;
  if (memory.full) showTimeline();
});
if (window.ResizeObserver) new ResizeObserver(() => memory.full && showTimeline()).observe(plot);

const button = find('.pm-unload');
button.addEventListener('click', () => {
  button.disabled = true;
  find('.pm-result').textContent = '';
  setTimeout(() => { button.disabled = false; }, 15000);
  trigger('unload_now');
});
function finishUnload(text) {
  button.disabled = false;
  find('.pm-result').textContent = text;
}

watch('value', () => take(props.value));
take(props.value);
