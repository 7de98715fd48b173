"""Directive ``exit-codes``: a table of the exit codes of a process, read from its specification."""

from aiida.plugins import CalculationFactory, WorkflowFactory
from docutils import nodes
from docutils.parsers.rst import Directive, directives

AIIDA_OWN = range(200)
"""AiiDA's own exit codes, which every job has; its documentation describes them."""


class ExitCodes(Directive):
    """Write the exit codes of the process with the entry point given as argument."""

    required_arguments = 1
    option_spec = {'workchain': directives.flag}

    def run(self):
        factory = WorkflowFactory if 'workchain' in self.options else CalculationFactory
        codes = factory(self.arguments[0]).spec().exit_codes.items()
        table = nodes.table(classes=['exit-codes'])
        group = nodes.tgroup(cols=3)
        table += group
        for width in (8, 30, 62):
            group += nodes.colspec(colwidth=width)
        head, body = nodes.thead(), nodes.tbody()
        group += head
        group += body
        head += _row(nodes.Text('status'), nodes.Text('label'), nodes.Text('meaning'))
        own = [(label, code) for label, code in codes if code.status not in AIIDA_OWN]
        for label, code in sorted(own, key=lambda item: item[1].status):
            body += _row(nodes.Text(str(code.status)), nodes.literal(text=label), nodes.Text(code.message))
        return [table]


def _row(*cells):
    row = nodes.row()
    for cell in cells:
        row += nodes.entry('', nodes.paragraph('', '', cell))
    return row


def setup(app):
    app.add_directive('exit-codes', ExitCodes)
    return {'parallel_read_safe': True}
