//! What is heard as lines of JSON, one a message.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use neji_link::Event;
use serde_json::{Map, Value, json};

use crate::client::Heard;

/// Whether writing failed only because nobody reads any more, as behind `head`.
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes what is heard.
///
/// # Errors
/// The writer's.
pub fn write(out: &mut dyn Write, heard: &Heard<'_>) -> Result<()> {
    if let Some(line) = line(heard) {
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}

/// A line, where what is heard is worth one: pieces of a recording are not, the whole is.
pub fn line(heard: &Heard<'_>) -> Option<String> {
    let mut fields = match heard {
        Heard::Opened => json!({ "event": "opened" }),
        Heard::Closed(why) => json!({ "event": "closed", "reason": why }),
        Heard::Restarted => json!({ "event": "restarted" }),
        Heard::Event(Event::RecordingPiece(_) | Event::Ack { .. } | Event::Refused { .. }) => return None,
        Heard::Event(event) => of_event(event),
        Heard::Answer(command, Ok(())) => json!({ "event": "done", "command": command }),
        Heard::Answer(command, Err(reason)) => {
            json!({ "event": "refused", "command": command, "reason": reason.to_string() })
        }
        Heard::Silence(command) => json!({ "event": "silence", "command": command }),
        Heard::Fetched(recording, bytes) => json!({ "event": "fetched", "id": recording.id, "bytes": bytes.len() }),
        Heard::Unfetched(id) => json!({ "event": "unfetched", "id": id }),
        Heard::Version(found) => json!({ "event": "version", "found": found, "known": neji_link::PROTOCOL_VERSION }),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    fields.as_object_mut()?.insert("time".to_owned(), json!((now * 1000.0).round() / 1000.0));
    Some(fields.to_string())
}

/// An event's fields beside its name, an outcome's among them.
fn of_event(event: &Event<'_>) -> Value {
    let Ok(Value::Object(tagged)) = serde_json::to_value(event) else { return json!({}) };
    let mut line = Map::new();
    for (name, fields) in tagged {
        line.insert("event".to_owned(), Value::String(snake(&name)));
        let Value::Object(fields) = fields else { continue };
        for (field, value) in fields {
            match (field.as_str(), value) {
                ("outcome", Value::Object(outcome)) => {
                    for (outcome, detail) in outcome {
                        line.insert("outcome".to_owned(), Value::String(snake(&outcome)));
                        match detail {
                            Value::Object(detail) => line.extend(detail),
                            detail => drop(line.insert("detail".to_owned(), detail)),
                        }
                    }
                }
                ("outcome", Value::String(outcome)) => {
                    line.insert(field, Value::String(snake(&outcome)));
                }
                (_, value) => drop(line.insert(field, value)),
            }
        }
    }
    Value::Object(line)
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use neji_link::{Outcome, Score, SensorFault, Trend};

    use super::*;

    fn score(outcome: Outcome) -> Value {
        let score =
            Score { verdict: 3, samples: 784, outcome, alarm: false, drift: Trend::Steady, level: 100, dropped: 0 };
        let line = line(&Heard::Event(&Event::Score(score))).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    #[test]
    fn a_score_is_flat() {
        let line = score(Outcome::Scored { score: 12, smoothed: 11, class: None, abnormal: false });
        assert_eq!((&line["event"], &line["outcome"]), (&json!("score"), &json!("scored")));
        assert_eq!((&line["score"], &line["level"], &line["alarm"]), (&json!(12), &json!(100), &json!(false)));
        assert_eq!(score(Outcome::PartNotFound)["outcome"], json!("part_not_found"));
        let fault = score(Outcome::SensorFault(SensorFault::Dropped));
        assert_eq!((&fault["outcome"], &fault["detail"]), (&json!("sensor_fault"), &json!("Dropped")));
        assert!(line["time"].as_f64().is_some_and(|time| time > 1.6e9));
    }
}
