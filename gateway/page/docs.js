// Draws /openapi.json for people: every route with what it takes and what it answers.

const document_ = await (await fetch('/openapi.json')).json();
const schemas = document_.components.schemas;

const resolve = (schema) => (schema?.$ref ? schemas[schema.$ref.split('/').at(-1)] : schema);

function example(schema, depth = 0) {
  const known = resolve(schema) || {};
  if (known.example !== undefined) return known.example;
  if (known.examples?.length) return known.examples[0];
  if (known.default !== undefined) return known.default;
  if (known.enum) return known.enum[0];
  const choice = (known.anyOf || known.oneOf || []).find((one) => one.type !== 'null');
  if (choice) return example(choice, depth);
  if (known.type === 'object' && known.properties && depth < 5) {
    return Object.fromEntries(Object.entries(known.properties).map(([name, one]) => [name, example(one, depth + 1)]));
  }
  if (known.type === 'array') return depth < 5 ? [example(known.items, depth + 1)] : [];
  return { integer: 0, number: 0, boolean: false, object: {} }[known.type]
    ?? (known.format === 'date-time' ? '2026-01-01T12:00:00Z' : '');
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const shown = (words, schema) => element('details', {}, element('summary', { textContent: words }),
  element('pre', { textContent: JSON.stringify(example(schema), null, 2) }));

const sections = [];
for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const section = element('section', { className: 'card' },
      element('h2', {}, element('code', { textContent: `${method.toUpperCase()} ${path}` })),
      element('p', { textContent: route.summary || '' }),
      element('p', { className: 'quiet', textContent: route.description || '' }));
    const body = route.requestBody?.content?.['application/json']?.schema;
    if (body) section.append(shown('Request', body));
    for (const [status, answer] of Object.entries(route.responses)) {
      const schema = Object.values(answer.content || {})[0]?.schema;
      if (schema) section.append(shown(`${status} ${answer.description}`, schema));
      else section.append(element('p', { className: 'quiet', textContent: `${status} ${answer.description}` }));
    }
    sections.push(section);
  }
}
document.getElementById('routes').replaceChildren(...sections);
