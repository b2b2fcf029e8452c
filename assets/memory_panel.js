// Draws the memory panel. The server sends one small reading a second and, when asked, a full one
// with history and texts. All texts go in as text, never as HTML. The timeline is in
// memory_timeline.js, plan and settings are in memory_plan.js.
const root = element.querySelector('.pm');
const find = (name) => root.querySelector(name);
const SVG = 'http://www.w3.org/2000/svg';
const GLYPHS = {
  load: 'M0 -4.5 L4.5 3.5 H-4.5 Z',
  unload: 'M0 4.5 L4.5 -3.5 H-4.5 Z',
  bad: 'M-4 -2.6 L-2.6 -4 L0 -1.4 L2.6 -4 L4 -2.6 L1.4 0 L4 2.6 L2.6 4 L0 1.4 L-2.6 4 L-4 2.6 L-1.4 0 Z',
  job: 'M-3.5 -3.5 H3.5 V3.5 H-3.5 Z',
  device: 'M0 -4.5 L4.5 0 L0 4.5 L-4.5 0 Z',
  park: 'M0 2.2 L4.5 -4.5 H-4.5 Z M-4.5 3 H4.5 V4.8 H-4.5 Z',
  stage: 'M0 -2.6 A2.6 2.6 0 1 1 0 2.6 A2.6 2.6 0 1 1 0 -2.6 Z',
  plan: 'M-4 -4 H4 V-2.2 H-4 Z M-4 -0.9 H4 V0.9 H-4 Z M-4 2.2 H1 V4 H-4 Z',
  step: 'M-4.5 -4.5 H-1.2 V-1.2 H1.8 V1.8 H4.5 V4.5 H-4.5 Z',
  budget: 'M-4.5 -4.5 H4.5 V-2.7 H-4.5 Z M0 -1.6 L4 4.5 H-4 Z',
};
const GLYPH_OF = {
  load: 'load', prefetch: 'load', unload: 'unload', park: 'park', device: 'device', worker: 'device',
  'job start': 'job', 'job end': 'job', stage: 'stage', plan: 'plan', 'step down': 'step', budget: 'budget',
};
const memory = { full: null, now: null, points: [], events: [], askedAt: 0, cursor: null, planShape: '', controlShape: '', wasGiven: null };
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
const glyphOf = (kind) => GLYPH_OF[kind] || 'bad';

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
  if (data.x) saveFile(data.x);
  const isBehind = data.p && last && data.p[0] - last > 5;
  const isMissing = memory.events.length && memory.events[memory.events.length - 1][0] < data.n;
  if (!memory.full || memory.full.d !== data.d || isBehind || isMissing) ask();
  if (memory.full) show();
  if (data.br) finishSetting(data.br, 'budget');
  if (data.lr) finishSetting(data.lr, 'ladder');
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
  find('.pm-badge').hidden = !full.simulated;
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
  showPlan();
  showModels();
  showControl();
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
  const [state, leases, idle, size, kept] = figures;
  const isLoaded = state === 'loaded', isParked = state === 'on the host';
  const dot = isLoaded ? 'is-loaded' : isParked ? 'is-parked' : state.endsWith('loading') ? 'is-moving' : '';
  const item = make('li', dot);
  const name = make('span', 'pm-name', model.title);
  if ((isLoaded || isParked) && model.precision) name.append(make('small', '', model.precision));
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
  item.append(make('p', '', modelWords(state, leases, idle) + keptWords(state, kept, model.pinned)));
  return item;
}

function keptWords(state, kept, isPinned) {
  if (!kept) return '';
  const size = (kept / 1024).toFixed(2) + ' GiB' + (isPinned ? ', pinned' : '');
  return state === 'on the host' ? ', ' + size : '; a copy on the host, ' + size;
}

function modelWords(state, leases, idle) {
  if (state === 'on the host') return state;
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
  const newest = [...memory.events].reverse();
  const shape = newest.map((event) => event[0]).join();
  if (list.dataset.shape === shape && list.children.length) return;
  list.dataset.shape = shape;
  list.replaceChildren(...newest.map(([, at, kind, text]) => {
    const glyph = glyphOf(kind);
    const item = make('li', glyph === 'bad' || glyph === 'step' ? 'bad' : '');
    const mark = draw('svg', { viewBox: '-5 -5 10 10', 'aria-hidden': 'true' });
    mark.append(draw('path', { d: GLYPHS[glyph] }));
    item.append(mark, make('time', '', clock(at)), make('span', '', text));
    return item;
  }));
  if (!newest.length) list.append(make('li', 'none', 'Nothing yet: loads, unloads and jobs are noted here.'));
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

wireControl();
watch('value', () => take(props.value));
take(props.value);
