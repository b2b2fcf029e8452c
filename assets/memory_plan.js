// The plan, the ladder, the budget and the export of the memory panel. Read before memory_panel.js
// into the same function, so it holds function declarations alone.

function showPlan() {
  const { control, plan } = memory.full;
  find('.pm-plan').hidden = !control;
  const shape = JSON.stringify(plan);
  if (!control || memory.planShape === shape) return;
  memory.planShape = shape;
  find('.pm-plan-none').hidden = Boolean(plan);
  find('.pm-plan-shown').hidden = !plan;
  find('.pm-plan-job').textContent = plan ? plan.job : '';
  if (!plan) return;
  const share = (plan.peak / 1024).toFixed(1) + ' of ' + gib(plan.room);
  find('.pm-plan-size').textContent = plan.fits ? share : gib(plan.peak) + ' needed, ' + gib(plan.room) + ' may be used';
  find('.pm-plan').dataset.tone = plan.fits ? 'plain' : 'bad';
  const labels = Object.fromEntries(plan.bar.map(([key, label]) => [key, label]));
  const keys = plan.bar.map(([key]) => key);
  showBar(find('.pm-plan-bar'), find('.pm-plan-legend'), keys, plan.bar.map((piece) => piece[2]), labels, 'The plan');
  find('.pm-plan-words').textContent = plan.words;
  find('.pm-plan-quality').textContent = plan.quality;
  find('.pm-ladder').replaceChildren(...plan.rungs.map(rungItem));
  find('.pm-reasons').replaceChildren(...plan.reasons.map((reason) => make('li', '', reason)));
  const rows = [...plan.lines, ['Peak', plan.peak]].map(([label, size]) => tableRow([label, gib(size)]));
  const stages = plan.stages.map(([title, knobs, size]) => tableRow([title + (knobs ? ': ' + knobs : ''), gib(size)]));
  find('.pm-plan-lines tbody').replaceChildren(...rows);
  find('.pm-plan-stages tbody').replaceChildren(...stages);
  if (memory.wasGiven !== plan.given) find('.pm-plan-sum').open = plan.given; // else as a person left it
  memory.wasGiven = plan.given;
}

function rungItem([title, state, why]) {
  const item = make('li', 'is-' + state);
  if (state === 'taken') item.setAttribute('aria-current', 'step');
  item.append(make('i'), make(state === 'passed' ? 's' : 'span', '', title));
  item.append(make('small', '', state === 'taken' ? 'taken' : why || (state === 'passed' ? 'not taken' : '')));
  return item;
}

function tableRow([label, value]) {
  const row = make('tr');
  const head = make('th', '', label);
  head.scope = 'row';
  row.append(head, make('td', '', value));
  return row;
}

function showControl() {
  const { control, limit } = memory.full;
  const total = memory.now.m.reduce((sum, value) => sum + value, 0);
  find('.pm-main').style.setProperty('--limit', limit === null ? '' : Math.min(1, limit / total));
  find('.pm-main').classList.toggle('is-limited', limit !== null);
  if (limit !== null) find('.pm-main').ariaLabel += ', budget of Partwise ' + gib(limit);
  find('.pm-control').hidden = !control;
  const shape = JSON.stringify(control);
  if (!control || memory.controlShape === shape) return;
  memory.controlShape = shape;
  const input = find('.pm-gib'), select = find('.pm-rungs');
  if (document.activeElement !== input && input.getAttribute('aria-invalid') !== 'true') input.value = control.gib ?? '';
  select.replaceChildren(...control.ladders.map(([name, title]) => {
    const option = make('option', '', title);
    option.value = name;
    return option;
  }));
  select.value = control.ladder;
  for (const node of [input, select, find('.pm-apply')]) node.disabled = Boolean(control.refusal);
  find('.pm-force').textContent = control.force + (control.refusal ? ' ' + control.refusal : '');
}

// An answer to what a person set: whether it was done, and a sentence.
function finishSetting([isDone, text], name) {
  const said = find('.pm-said');
  said.textContent = text;
  said.dataset.tone = isDone ? 'plain' : 'bad';
  const input = find('.pm-gib');
  if (name === 'budget') input.setAttribute('aria-invalid', String(!isDone));
  if (name === 'budget' && isDone) input.value = memory.full.control.gib ?? '';
  if (name === 'ladder' && !isDone) find('.pm-rungs').value = memory.full.control.ladder;
}

function saveFile({ name, type, text }) {
  const link = make('a');
  link.href = URL.createObjectURL(new Blob([text], { type: type + ';charset=utf-8' }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function wireControl() {
  const input = find('.pm-gib');
  const force = find('.pm-force'), said = find('.pm-said');
  force.id = prefix + '-force';
  said.id = prefix + '-said';
  input.setAttribute('aria-describedby', force.id + ' ' + said.id);
  const apply = () => {
    find('.pm-said').textContent = '';
    trigger('set_budget', { gib: input.value });
  };
  find('.pm-apply').addEventListener('click', apply);
  input.addEventListener('keydown', (event) => event.key === 'Enter' && apply());
  input.addEventListener('input', () => input.removeAttribute('aria-invalid'));
  find('.pm-rungs').addEventListener('change', (event) => {
    find('.pm-said').textContent = '';
    trigger('set_ladder', { ladder: event.target.value });
  });
  for (const button of root.querySelectorAll('.pm-export button')) {
    button.addEventListener('click', () => trigger('export', { format: button.dataset.format }));
  }
}
