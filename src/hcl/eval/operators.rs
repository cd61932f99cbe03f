//! Operators and the conditional.

use super::{Errors, Evaluated, Evaluator, Scope, unknown, wrong};
use crate::hcl::{
    Cause, Data, Number, Span, Type, Value,
    ast::{Binary, Expr, Unary},
    types::{equal, unify},
};

impl Evaluator<'_> {
    pub(super) fn conditional(
        &self,
        [condition, then, otherwise]: &[Expr; 3],
        scope: &Scope<'_>,
    ) -> Evaluated {
        let decides = self.eval(condition, scope)?;
        if let Data::Unknown(found) = &decides.data {
            let (mut cause, mut sensitive) = (found.cause, decides.sensitive);
            match (self.eval(then, scope), self.eval(otherwise, scope)) {
                // What is wrong with both branches is wrong whatever comes. One of them may be there for that very case.
                (Err(Errors(mut errors)), Err(more)) => {
                    errors.extend(more.0);
                    return Err(Errors(errors));
                }
                (Err(errors), _) | (_, Err(errors)) if self.budget.is_spent() => return Err(errors),
                (then, otherwise) => {
                    for value in [then, otherwise].iter().flatten() {
                        cause = value.waits_for().map_or(cause, |more| cause.and(more));
                        sensitive |= value.holds_sensitive();
                    }
                }
            }
            return Ok(unknown(cause, sensitive));
        }
        let sensitive = decides.sensitive;
        let is_true = truth(decides, condition.span)?;
        let (taken, other) = if is_true { (then, otherwise) } else { (otherwise, then) };
        let value = self.eval(taken, scope)?;
        // Both branches have one type: `true ? 1 : "a"` is a text. The other branch may fail to evaluate, since it is
        // often there for that very case.
        let is_simple = matches!(value.data, Data::Number(_) | Data::Bool(_));
        let value = match self.eval(other, scope) {
            // It may become a text.
            Ok(Value { data: Data::Unknown(other), .. }) if is_simple => {
                unknown(other.cause, value.sensitive)
            }
            Ok(other) if is_simple && matches!(other.data, Data::Text(_)) => {
                unify(&[value.clone(), other]).convert(value.clone()).unwrap_or(value)
            }
            _ => value,
        };
        Ok(value.marked(sensitive))
    }

    pub(super) fn unary(&self, operator: Unary, operand: &Expr, scope: &Scope<'_>) -> Evaluated {
        let value = self.eval(operand, scope)?;
        if let Data::Unknown(found) = &value.data {
            return Ok(unknown(found.cause, value.sensitive));
        }
        let sensitive = value.sensitive;
        let result: Value = match operator {
            Unary::Not => (!truth(value, operand.span)?).into(),
            Unary::Minus => number(value, operand.span)?.negated().into(),
        };
        Ok(result.marked(sensitive))
    }

    pub(super) fn binary(&self, operator: Binary, operands: &[Expr; 2], scope: &Scope<'_>) -> Evaluated {
        let [left_expr, right_expr] = operands;
        let (left, right) = match (self.eval(left_expr, scope), self.eval(right_expr, scope)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(Errors(mut errors)), Err(more)) => {
                errors.extend(more.0);
                return Err(Errors(errors));
            }
            (Err(errors), _) | (_, Err(errors)) => return Err(errors),
        };
        let sensitive = left.sensitive || right.sensitive;
        let comparing = matches!(operator, Binary::Equal | Binary::NotEqual);
        if comparing {
            for (value, expr) in [(&left, left_expr), (&right, right_expr)] {
                self.budget.walk(value).map_err(|message| wrong(expr.span, message))?;
            }
        }
        let waits = |value: &Value| match &value.data {
            Data::Unknown(unknown) => Some(unknown.cause),
            _ if comparing => value.waits_for(),
            _ => None,
        };
        if let Some(cause) = [waits(&left), waits(&right)].into_iter().flatten().reduce(Cause::and) {
            return Ok(unknown(cause, sensitive));
        }
        let sensitive = sensitive || (comparing && (left.holds_sensitive() || right.holds_sensitive()));
        let span = Span::new(left_expr.span.start, right_expr.span.end);
        let calculated = |number: Option<Number>| {
            number.map(Value::from).ok_or_else(|| wrong(span, "the number has too many digits"))
        };
        let by_zero = || wrong(right_expr.span, "division by zero");
        let result: Value = match operator {
            Binary::Equal => equal(&left, &right).into(),
            Binary::NotEqual => (!equal(&left, &right)).into(),
            Binary::And | Binary::Or => {
                let (left, right) = (truth(left, left_expr.span)?, truth(right, right_expr.span)?);
                if operator == Binary::And { left && right } else { left || right }.into()
            }
            _ => {
                let (left, right) = (number(left, left_expr.span)?, number(right, right_expr.span)?);
                match operator {
                    Binary::Less => (left < right).into(),
                    Binary::LessOrEqual => (left <= right).into(),
                    Binary::Greater => (left > right).into(),
                    Binary::GreaterOrEqual => (left >= right).into(),
                    Binary::Add => calculated(left.plus(&right))?,
                    Binary::Subtract => calculated(left.minus(&right))?,
                    Binary::Multiply => calculated(left.times(&right))?,
                    Binary::Divide | Binary::Remainder if right.is_zero() => return Err(by_zero()),
                    Binary::Divide => calculated(left.divided_by(&right))?,
                    _ => calculated(left.remainder(&right))?,
                }
            }
        };
        Ok(result.marked(sensitive))
    }
}

/// A known value as true or false.
pub(super) fn truth(value: Value, span: Span) -> Result<bool, Errors> {
    match Type::Bool.convert(value) {
        Ok(Value { data: Data::Bool(value), .. }) => Ok(value),
        Ok(_) => Err(wrong(span, "`true` or `false` is needed here, not null")),
        Err(message) => Err(wrong(span, message)),
    }
}

/// A known value as a number.
pub(super) fn number(value: Value, span: Span) -> Result<Number, Errors> {
    match Type::Number.convert(value) {
        Ok(Value { data: Data::Number(value), .. }) => Ok(value),
        Ok(_) => Err(wrong(span, "a number is needed here, not null")),
        Err(message) => Err(wrong(span, message)),
    }
}
