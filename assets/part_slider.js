// Fewer or more parts: asks for a number of parts while a person slides. One question is on its way
// at a time, and none while the picture of the one before is being fetched; the last number wins.
const root = element.querySelector('.ps');
const find = (name) => root.querySelector(name);
const range = find('.ps-range'), number = find('.ps-number'), suggested = find('.ps-suggested');
const mark = find('.ps-mark'), note = find('.ps-note');
const SLIDER_END = 40; // people think in small numbers; the field takes all there are
const PAUSE_MS = 40, PATIENCE_MS = 5000;
const asking = { wanted: null, sent: null, sentAt: 0, serial: 0, timer: null };

const told = () => props.value ?? {};
const clamped = (count) => Math.min(told().most, Math.max(told().least, Math.round(count)));

function showCount(count) {
  range.value = count;
  if (document.activeElement !== number) number.value = count;
  range.setAttribute('aria-valuetext', count + (count === 1 ? ' part' : ' parts'));
  const { min, max } = range;
  root.style.setProperty('--ps-share', Math.min(100, (100 * (count - min)) / Math.max(1, max - min)) + '%');
}

function ask(count) {
  if (!Number.isFinite(count) || !told().is_on) return;
  asking.wanted = clamped(count);
  showCount(asking.wanted);
  send();
}

function send() {
  if (asking.wanted === null || asking.timer !== null) return;
  if (isWaiting()) {
    asking.timer = setTimeout(() => {
      asking.timer = null;
      send();
    }, PAUSE_MS);
    return;
  }
  Object.assign(asking, { sent: asking.wanted, wanted: null, sentAt: performance.now(), serial: asking.serial + 1 });
  trigger('recut', { count: asking.sent, serial: asking.serial });
}

function isWaiting() {
  if (performance.now() - asking.sentAt > PATIENCE_MS) return false;
  const isDrawing = document.querySelector('#segment-viewer .pv')?.getAttribute('aria-busy') === 'true';
  return asking.sent !== null || isDrawing;
}

function apply() {
  const { least, most, count, suggestion, is_on, hint, problem, serial } = told();
  if (serial === asking.serial) asking.sent = null;
  root.hidden = !Number.isInteger(count);
  if (root.hidden) return;
  const hasTree = Number.isInteger(most);
  Object.assign(range, { min: hasTree ? least : 1, max: hasTree ? Math.min(most, SLIDER_END) : count });
  Object.assign(number, { min: hasTree ? least : 1, max: hasTree ? most : count });
  for (const control of [range, number]) control.disabled = !is_on;
  suggested.hidden = mark.hidden = !Number.isInteger(suggestion);
  suggested.textContent = 'Suggested: ' + suggestion;
  suggested.disabled = !is_on || count === suggestion;
  const span = Math.max(1, range.max - range.min);
  mark.style.setProperty('--ps-at', Math.min(1, (suggestion - range.min) / span));
  note.textContent = problem || hint || '';
  note.dataset.tone = problem ? 'bad' : 'plain';
  if (!is_on) Object.assign(asking, { wanted: null, sent: null });
  if (asking.wanted === null && asking.sent === null) showCount(count);
  if (asking.wanted === null && problem) number.value = count;
  send();
}

range.addEventListener('input', () => ask(range.valueAsNumber));
number.addEventListener('change', () => ask(number.valueAsNumber));
number.addEventListener('blur', () => asking.wanted === null && asking.sent === null && (number.value = told().count));
suggested.addEventListener('click', () => ask(told().suggestion));
watch('value', apply);
apply();
