'use strict';
// Names and paths are shown by textContent and attributes alone: none of them becomes markup.

const COLORS = ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#8a7f00', '#000'];
const AT_ONCE = 60;  // pictures that are added to a list at once
const MOST_SHOWN = 1500;  // pictures that one answer tells of
const COUNTS = [2, 3, 4, 6, 8, 10];  // of sub-classes, beside a number that is chosen
const CALM = 700;  // milliseconds without a change before labels are judged
const ADVICE = {
  proposals: 'Groups of pictures that look alike: name one, then click some of its pictures, best ' +
    'such as differ. Two groups may be one class, and a group may hold several.',
  waiting: 'The most doubtful answers come first: their labels count most.',
  none: 'Pictures that are like none of the classes, the most similar to one first.',
  labeled: 'Click a picture with its own class chosen to take its label back.',
  dropped: 'These get no answer and stand in no table.',
};
const byId = id => document.getElementById(id);
const field = {view: 'proposals', coarse: null, answer: '', count: '6', active: null};
let state = null;
let numbers = [];  // of the list that is shown, all of them
let queue = Promise.resolve();  // requests that change something, one after the other
let judging = 0;
let renaming = null;  // the class that is given another name

function make(tag, about = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name in node && name !== 'list') node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...inside);
  return node;
}

const counted = (n, one, many = one + 's') => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;
const percent = share => `${Math.round(100 * share)}%`;

function tell(text, wrong = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('wrong', wrong);
}

async function ask(path, asked) {
  let response;
  try {
    response = await fetch(path, {
      method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: JSON.stringify(asked),
    });
  } catch {
    throw new Error('the server does not answer; start the command again, its labels are kept');
  }
  const type = response.headers.get('Content-Type') || '';
  const told = type.includes('json') ? await response.json() : {error: await response.text()};
  if (!response.ok) throw new Error(told.error || response.statusText);
  return told;
}

function inTurn(work) {
  queue = queue.then(work).catch(error => tell(error.message, true));
  return queue;
}

// A list that takes long must not keep clicks waiting; it starts after the changes before it.
function loadInTurn() {
  return inTurn(() => void load().catch(error => tell(error.message, true)));
}

// ---- pictures

const tiles = () => [...document.querySelectorAll('.tile')];
const tileOf = number => document.querySelector(`.tile[data-number="${number}"]`);
const shown = () => tiles().slice(0, MOST_SHOWN).map(tile => Number(tile.dataset.number));

function tile(about) {
  const picture = make('img', {src: `/pictures/${about.number}/small`, alt: '', loading: 'lazy'});
  const tools = make('div', {className: 'tools'},
    make('button', {type: 'button', className: 'confirm', textContent: '✓'}),
    make('button', {type: 'button', className: 'drop', textContent: '✕'}),
    make('button', {type: 'button', className: 'look', textContent: '⤢'}));
  const pick = make('button', {type: 'button', className: 'pick'}, picture,
    make('span', {className: 'told'}));
  const node = make('li', {className: 'tile', 'data-number': about.number}, pick, tools);
  update(node, about);
  reachable(node, false);
  return node;
}

function toldOf(about) {
  if (about.dropped) return ['dropped', ''];
  if (about.label !== null) return [about.label, 'your label'];
  if (about.answer === undefined) return ['', field.coarse === null ? about.coarse : ''];
  const sure = `${about.answer}, ${percent(about.probability)}`;
  return about.none ? ['none of these', `nearest: ${sure}`] : [about.answer, percent(about.probability)];
}

function update(node, about) {
  node.about = about;
  const [first, second] = toldOf(about);
  const pick = node.querySelector('.pick');
  pick.querySelector('.told').replaceChildren(make('b', {textContent: first}), ' ', second);
  const what = [first, second].filter(Boolean).join(', ');
  pick.setAttribute('aria-label', what ? `${about.path}: ${what}` : about.path);
  pick.title = about.path;
  pick.setAttribute('aria-pressed', about.label !== null && about.label === field.active);
  const place = state.classes.findIndex(each => each.name === about.label);
  node.style.setProperty('--own', place < 0 ? 'transparent' : COLORS[place % COLORS.length]);
  node.classList.toggle('dropped', about.dropped);
  const [confirm, drop, look] = node.querySelectorAll('.tools button');
  confirm.disabled = about.answer === undefined;
  confirm.setAttribute('aria-label', about.answer ? `confirm ${about.answer}` : 'confirm the answer');
  drop.setAttribute('aria-label', about.dropped ? 'take back from the dropped' : 'drop');
  drop.setAttribute('aria-pressed', about.dropped);
  look.setAttribute('aria-label', 'look at the whole picture');
  for (const button of [confirm, drop, look]) button.title = button.getAttribute('aria-label');
}

// One picture is reached by Tab, the others by arrows from it.
function reachable(node, is) {
  for (const button of node.querySelectorAll('button')) button.tabIndex = is ? 0 : -1;
}

function reach(node) {
  for (const other of tiles()) if (other !== node) reachable(other, false);
  if (node) reachable(node, true);
}

function neighbor(node, key) {
  const all = tiles(), at = all.indexOf(node), box = node.getBoundingClientRect();
  if (key === 'ArrowRight') return all[at + 1];
  if (key === 'ArrowLeft') return all[at - 1];
  if (key === 'Home') return all[0];
  if (key === 'End') return all[all.length - 1];
  const down = key === 'ArrowDown' ? 1 : -1;
  let best, least = Infinity;
  for (const other of all) {
    const place = other.getBoundingClientRect(), rows = down * (place.top - box.top);
    const far = rows + Math.abs(place.left - box.left) / 1e4;
    if (rows > 1 && far < least) [best, least] = [other, far];
  }
  return best;
}

// ---- what is shown

function renderClasses() {
  const own = state.classes.map((each, place) => ({...each, place}))
    .filter(each => field.coarse === null || each.coarse === field.coarse);
  if (!own.some(each => each.name === field.active)) field.active = own.length ? own[0].name : null;
  const focused = document.activeElement?.id;
  const legend = byId('classes').firstElementChild;
  byId('classes').replaceChildren(legend, ...own.map((each, row) => {
    const radio = make('input', {type: 'radio', name: 'active', id: `class-${each.place}`,
      value: each.name, checked: each.name === field.active});
    const told = `${counted(each.labeled, 'label')}` +
      (state.answering ? `, ${counted(each.answered, 'answer')}` : '');
    const name = row < 9 ? `${row + 1}. ${each.name}` : each.name;
    const label = make('label', {htmlFor: radio.id, textContent: name});
    const button = (what, does) => make('button', {type: 'button', textContent: what,
      id: `${what}-${each.place}`, onclick: does, 'aria-label': `${what} ${each.name}`});
    const line = make('div', {className: 'class'}, radio, label, make('small', {textContent: told}),
      button('rename', () => rename(each.name)),
      button('remove', () => change({do: 'remove', name: each.name})));
    line.style.setProperty('--own', COLORS[each.place % COLORS.length]);
    return line;
  }));
  if (focused && byId(focused) !== document.activeElement) byId(focused)?.focus();
  byId('classes').hidden = !own.length;
  byId('no-classes').hidden = own.length > 0;
}

function renderState() {
  document.title = byId('title').textContent = `Label pictures: ${state.title}`;
  byId('encoder').textContent = `${counted(state.total, 'picture')}, seen by ${state.encoder}`;
  byId('undo').disabled = !state.undo;
  byId('save').disabled = byId('export').disabled = !state.answering;
  const lines = [`${counted(state.labeled, 'picture')} labeled, ${state.dropped.toLocaleString('en')} ` +
    `dropped, ${state.waiting.toLocaleString('en')} to label`];
  if (!state.answering) lines.push('Two classes with a picture each are needed for answers.');
  else if (!state.rejects) lines.push('“None of these” is answered once a class has two pictures.');
  if (state.checked && state.checked.judged) {
    const {right, judged} = state.checked;
    lines.push(`Labels answered by the other labels: ${right} of ${judged} right (${percent(right / judged)})`);
  }
  if (state.known) {
    const [right, judged] = state.known;
    lines.push(`Answers that agree with the folder's own fine classes: ${right.toLocaleString('en')} of ` +
      `${judged.toLocaleString('en')} (${percent(right / judged)})`);
  }
  byId('progress').replaceChildren(...lines.map(line => make('li', {textContent: line})));
  const options = state.coarse.map(each => make('option', {value: each.number,
    textContent: `${each.name} (${each.labeled} of ${each.size})`}));
  const every = make('option', {value: '', textContent: `all (${state.labeled} of ${state.total})`});
  byId('coarse').replaceChildren(...options, ...(options.length > 1 ? [every] : []));
  byId('coarse').value = field.coarse ?? '';
  if (!state.classes.some(each => each.name === renaming)) renaming = null;
  renderNaming();
  renderClasses();
  const names = [...byId('classes').querySelectorAll('input')].map(radio => radio.value);
  byId('answer').replaceChildren(make('option', {value: '', textContent: 'any'}),
    ...names.map(each => make('option', {value: each, textContent: each})));
  if (!names.includes(field.answer)) field.answer = '';
  byId('answer').value = field.answer;
}

function take(told) {
  if (state && told.version < state.version) return;  // another answer has overtaken it
  state = told;
  renderState();
  const about = new Map(told.pictures.map(each => [each.number, each]));
  for (const node of tiles()) update(node, about.get(Number(node.dataset.number)) || node.about);
  if (byId('look').open) renderLook();
}

function renderBar() {
  for (const button of byId('views').children) {
    button.setAttribute('aria-pressed', button.dataset.view === field.view);
  }
  byId('answer-field').hidden = !['waiting', 'labeled'].includes(field.view);
  byId('count-field').hidden = field.view !== 'proposals';
  byId('again').hidden = field.view === 'proposals';
  byId('advice').textContent = ADVICE[field.view];
}

// Load the view anew; what the answer finds changed meanwhile is thrown away.
async function load() {
  renderBar();
  const asked = JSON.stringify(field);
  const current = () => JSON.stringify({...JSON.parse(asked), active: field.active}) ===
    JSON.stringify(field);
  if (field.view === 'proposals' && field.coarse === null) {
    byId('heading').textContent = 'Proposed sub-classes';
    byId('pictures').replaceChildren(make('p', {textContent: 'Choose a coarse class.'}));
    byId('more').hidden = true;
    return;
  }
  if (field.view === 'proposals') {
    const slow = setTimeout(() => tell('Looking for sub-classes …'), 300);
    try {
      const count = field.count === 'auto' ? {} : {k: Number(field.count)};
      const told = await ask('/proposals', {coarse: field.coarse, ...count});
      if (current()) renderProposals(told.groups);
    } finally {
      clearTimeout(slow);
    }
    if (byId('status').textContent.startsWith('Looking')) tell('');
    return;
  }
  const told = await ask('/listed', {view: field.view,
    ...(field.coarse === null ? {} : {coarse: field.coarse}),
    ...(field.answer && !byId('answer-field').hidden ? {name: field.answer} : {})});
  if (current()) renderList(told);
}

function renderProposals(groups) {
  const name = state.coarse.find(each => each.number === field.coarse).name;
  byId('heading').textContent = `${name}: ${counted(groups.length, 'proposed sub-class', 'proposed sub-classes')}`;
  byId('pictures').replaceChildren(...groups.map((group, place) => {
    const id = `proposal-${place}`;
    const input = make('input', {type: 'text', id, maxLength: 100, autocomplete: 'off'});
    const form = make('form', {className: 'line'},
      make('label', {htmlFor: id, textContent: 'Name'}), input,
      make('button', {type: 'submit', textContent: 'Add class'}));
    form.addEventListener('submit', event => {
      event.preventDefault();
      name_(input, group.near.length ? group.near[0].number : null);
    });
    const parts = [['nearest to its mean', group.near], ['most doubtful', group.doubtful]];
    return make('section', {className: 'group', 'aria-label': group.name},
      make('h3', {textContent: `${group.name}, ${counted(group.size, 'picture')}`}), form,
      ...parts.filter(([, pictures]) => pictures.length).flatMap(([title, pictures]) => [
        make('h3', {textContent: title}),
        make('ul', {className: 'tiles'}, ...pictures.map(tile))]));
  }));
  byId('more').hidden = true;
  reach(tiles()[0]);
}

function renderList(told) {
  numbers = told.numbers;
  const what = {waiting: 'to label', none: 'of none of these', labeled: 'labeled', dropped: 'dropped'};
  byId('heading').textContent = `${counted(numbers.length, 'picture')} ${what[field.view]}`;
  byId('pictures').replaceChildren(make('ul', {className: 'tiles'}, ...told.pictures.map(tile)));
  if (!numbers.length) byId('pictures').replaceChildren();
  byId('more').hidden = numbers.length <= told.pictures.length;
  reach(tiles()[0]);
}

async function more() {
  const there = tiles().length;
  const told = await ask('/about', {shown: numbers.slice(there, there + AT_ONCE)});
  const added = told.pictures.map(tile);
  document.querySelector('.tiles').append(...added);
  byId('more').hidden = tiles().length >= numbers.length;
  reach(added[0]);
  added[0]?.querySelector('.pick').focus();
}

// ---- changes

function change(asked, said = '') {
  return inTurn(async () => {
    take(await ask('/change', {...asked, shown: shown()}));
    tell(said);
    judge();
  });
}

function judge() {
  clearTimeout(judging);
  judging = setTimeout(() => ask('/check', {shown: shown()}).then(take, () => {}), CALM);
}

function name_(input, first) {
  const name = input.value.trim();
  if (field.coarse === null) return tell('Choose a coarse class for it first.', true);
  if (!name) {
    input.focus();
    return tell('Type a name for the class first.', true);
  }
  return change({do: 'name', name, coarse: field.coarse},
    `“${name}” is a class now: click pictures of it.`).then(() => {
    if (!state.classes.some(each => each.name === name)) return;
    field.active = name;
    input.value = '';
    take({...state, pictures: []});
    if (first !== null) tileOf(first)?.querySelector('.pick').focus();
  });
}

// The field of a new class's name takes another name of a class, until Enter or Escape.
function rename(old) {
  renaming = old;
  byId('name').value = old ?? '';
  renderNaming();
  if (old !== null) byId('name').select();
}

function renderNaming() {
  const coarse = state.coarse.find(each => each.number === field.coarse)?.name;
  byId('name-label').textContent = renaming === null
    ? `Name of a new class${coarse ? ` of ${coarse}` : ''}` : `Another name for “${renaming}”`;
  byId('name-add').textContent = renaming === null ? 'Add' : 'Rename';
}

function renamed() {
  const old = renaming, given = byId('name').value.trim(), chosen = field.active === old;
  if (given === old) return rename(null);
  return change({do: 'rename', old, new: given}).then(() => {
    if (state.classes.some(each => each.name === old)) return;  // it was refused
    if (chosen) field.active = given;
    rename(null);
    take({...state, pictures: []});
  });
}

function pick(about, name = field.active) {
  if (name === null) {
    byId('name').focus();
    return tell('Name a class first: a click then gives a picture that class.', true);
  }
  const same = about.label === name;
  change({do: same ? 'clear' : 'label', numbers: [about.number], ...(same ? {} : {name})});
}

function confirm_(about) {
  if (about.answer !== undefined) change({do: 'label', numbers: [about.number], name: about.answer});
}

function drop(about) {
  change({do: about.dropped ? 'clear' : 'drop', numbers: [about.number]});
}

function save(asked, what) {
  tell(`${what} …`);
  return inTurn(async () => {
    const {files} = await ask('/save', asked);
    const quoted = text => /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
    const next = files.length > 1 ? [
      `ancor predict --saved ${quoted(files[0])} --query FOLDER`,
      `ancor train --dataset folder --data ${quoted(state.root)} --labels ${quoted(files[1])} --mode fine ${state.start}`,
    ] : [];
    byId('saved').replaceChildren(
      make('p', {textContent: `Written: ${files.join(', ')}`}),
      ...(next.length ? [make('p', {textContent: 'Next, in a terminal:'})] : []),
      ...next.map(line => make('code', {textContent: line})));
    tell(`Written: ${files.join(', ')}`);
  });
}

// ---- the whole picture

function look(about) {
  byId('look').dataset.number = about.number;
  byId('look-picture').src = `/pictures/${about.number}/large`;
  renderLook();
  byId('look').showModal();
}

const lookedAt = () => tileOf(byId('look').dataset.number)?.about;

function renderLook() {
  const about = lookedAt();
  if (!about) return;
  byId('look-path').textContent = about.path;
  byId('look-told').textContent = [about.coarse, ...toldOf(about).filter(Boolean)].join(', ');
  byId('look').querySelector('[data-do=confirm]').disabled = about.answer === undefined;
}

// ---- events

const DO = {pick: about => pick(about), confirm: confirm_, drop, look};

byId('pictures').addEventListener('click', event => {
  const button = event.target.closest('.tile button'), node = event.target.closest('.tile');
  if (!button || !node) return;
  reach(node);
  DO[button.className](node.about);
});
byId('pictures').addEventListener('focusin', event => {
  const node = event.target.closest('.tile');
  if (node) reach(node);
});

function pressed(event, about) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const names = [...byId('classes').querySelectorAll('input')].map(radio => radio.value);
  const done = {y: () => confirm_(about), x: () => drop(about), o: () => look(about),
    u: () => change({do: 'undo'})}[event.key];
  if (/^[1-9]$/.test(event.key) && names[event.key - 1] !== undefined) {
    pick(about, names[event.key - 1]);
  } else if (done && (event.key !== 'u' || state.undo)) done();
  else return;
  event.preventDefault();
}

byId('pictures').addEventListener('keydown', event => {
  const node = event.target.closest('.tile');
  if (!node) return;
  if (/^(Arrow|Home$|End$)/.test(event.key)) {
    event.preventDefault();
    const next = neighbor(node, event.key);
    if (!next) return;
    reach(next);
    next.querySelector('.pick').focus();
    next.scrollIntoView({block: 'nearest'});
  } else pressed(event, node.about);
});
byId('look').addEventListener('keydown', event => {
  if (event.key !== 'o' && lookedAt()) pressed(event, lookedAt());
});
byId('look').addEventListener('click', event => {
  const does = event.target.dataset.do;
  if (does && lookedAt()) DO[does](lookedAt());
});
byId('look-close').addEventListener('click', () => byId('look').close());
byId('look').addEventListener('close', () => {
  tileOf(byId('look').dataset.number)?.querySelector('.pick').focus();
});
byId('classes').addEventListener('change', event => {
  field.active = event.target.value;
  for (const node of tiles()) update(node, node.about);
});
byId('name-form').addEventListener('submit', event => {
  event.preventDefault();
  if (renaming === null) name_(byId('name'), null);
  else renamed();
});
byId('name').addEventListener('keydown', event => {
  if (event.key === 'Escape' && renaming !== null) rename(null);
});
byId('undo').addEventListener('click', () => change({do: 'undo'}));
byId('save').addEventListener('click', () => save({}, 'Saving'));
byId('export').addEventListener('click', () => save({to: byId('format').value}, 'Exporting'));
byId('more').addEventListener('click', () => inTurn(more));
byId('again').addEventListener('click', () => loadInTurn());
byId('views').addEventListener('click', event => {
  if (!event.target.dataset.view) return;
  field.view = event.target.dataset.view;
  loadInTurn();
});
byId('coarse').addEventListener('change', () => {
  field.coarse = byId('coarse').value === '' ? null : Number(byId('coarse').value);
  renderState();
  loadInTurn();
});
byId('answer').addEventListener('change', () => {
  field.answer = byId('answer').value;
  loadInTurn();
});
byId('count').addEventListener('change', () => {
  field.count = byId('count').value;
  loadInTurn();
});

byId('count').append(...COUNTS.map(n => make('option', {value: n, textContent: n})),
  make('option', {value: 'auto', textContent: 'auto'}));
byId('count').value = field.count;
const narrow = matchMedia('(max-width: 899px)');
const unfold = () => { byId('rest').open = !narrow.matches; };
narrow.addEventListener('change', unfold);
unfold();
inTurn(async () => {
  const told = await ask('/state', {shown: []});
  field.coarse = told.coarse[0].number;
  take(told);
  await load();
  judge();
});
