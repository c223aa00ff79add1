//! `simulate`: a phone's life, or a fleet's, in a moment; as a summary, as JSON, or as a page with plots.

use std::{fs, path::Path};

use lifeboat::{
    scheduler::Policy,
    simulate::{Fleet, Life, PRICES, Report, Trace, fleet, live, play},
};
use serde::Serialize;
use serde_json::json;

use super::status::{document_in, policy};
use crate::{
    args::SimulateArgs,
    exit::{Code, Failure, Result},
    output::Output,
    text::{Size, Table, grouped},
};

const PAGE: &str = include_str!("../../assets/simulate.html");
const CHARTS: &str = include_str!("../../assets/uplot/uPlot.iife.min.js");
const CHARTS_STYLE: &str = include_str!("../../assets/uplot/uPlot.min.css");
const CHARTS_LICENCE: &str = include_str!("../../assets/uplot/LICENSE");
const YEAR_DAYS: u32 = 365;

pub(super) fn run(args: &SimulateArgs, out: &mut Output) -> Result<Code> {
    let policy = args
        .policy
        .as_deref()
        .map_or_else(|| Ok(Policy::default()), policy)?;
    if let Some(phones) = args.fleet {
        let sum = fleet(&policy, phones, args.days.unwrap_or(YEAR_DAYS), args.seed, |_| {});
        let page = json!({"fleet": &sum, "policy": &policy, "prices": PRICES});
        write_page(args.html.as_deref(), &page)?;
        if out.is_json() {
            out.document(&json!({"message_type": "fleet", "fleet": &sum, "prices": PRICES}))?;
        } else {
            print_fleet(&sum, out)?;
        }
        return Ok(Code::Success);
    }
    let trace = trace(args)?;
    if let Some(file) = &args.write_trace {
        let text =
            serde_json::to_string(&trace).map_err(|error| Failure::here(format!("writing JSON: {error}")))?;
        write(file, &(text + "\n"))?;
    }
    let report = play(&trace, &policy, args.seed);
    write_page(
        args.html.as_deref(),
        &json!({"report": &report, "policy": &policy}),
    )?;
    if out.is_json() {
        out.document(&json!({"message_type": "simulation", "report": &report}))?;
    } else {
        print(&report, out)?;
    }
    Ok(Code::Success)
}

/// The trace of the file, or of a life of that name.
fn trace(args: &SimulateArgs) -> Result<Trace> {
    if let Some(life) = Life::named(&args.trace) {
        return Ok(live(life, args.seed, args.days.unwrap_or(YEAR_DAYS)));
    }
    let mut trace: Trace = document_in(Path::new(&args.trace))?;
    if let Some(problem) = trace.problem() {
        return Err(Failure::here(format!("{}: {problem}", args.trace)));
    }
    if let Some(days) = args.days {
        trace.days = days;
    }
    Ok(trace)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|error| Failure::io(format!("writing {}", file.display()), error))
}

/// One page that needs nothing but itself.
fn write_page(file: Option<&Path>, data: &impl Serialize) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let data =
        serde_json::to_string(data).map_err(|error| Failure::here(format!("writing JSON: {error}")))?;
    // Nothing in the data may end the element that it stands in.
    let data = data.replace('<', "\\u003c");
    let charts = format!("/*\n{CHARTS_LICENCE}*/\n{CHARTS}");
    let page = PAGE
        .replace("/*UPLOT_CSS*/", CHARTS_STYLE)
        .replace("/*UPLOT_JS*/", &charts)
        .replace("/*DATA*/", &data);
    write(file, &page)
}

fn print(report: &Report, out: &mut Output) -> Result<()> {
    let months = f64::from(report.days) / 30.44;
    let monthly = |bytes: u64| Size((bytes as f64 / months) as u64);
    let [unmetered, metered, expensive, constrained, roaming] = report.bytes();
    out.line(format_args!(
        "life      {}, {} days in {}",
        report.life, report.days, report.zone
    ))?;
    out.line(format_args!(
        "fresh     {} of days ({} of {})",
        share(report.fresh_days.into(), report.counted_days.into()),
        report.fresh_days,
        report.counted_days
    ))?;
    out.line(format_args!(
        "windows   {}, woken {} times, opened {} times; {} snapshots, {} alarms",
        report.windows.len(),
        report.wakes,
        report.opens,
        report.snapshots,
        report.alarms
    ))?;
    out.line(format_args!(
        "a month   unmetered {}, metered {}, roaming {}; {:.0} requests",
        monthly(unmetered),
        monthly(metered + expensive + constrained),
        monthly(roaming),
        report.requests as f64 / months
    ))?;
    out.line(format_args!(
        "over      {} over an allowance",
        Size(report.over_budget_bytes)
    ))?;
    let mut waited: Vec<_> = report.waited.iter().collect();
    waited.sort_by_key(|(_, minutes)| std::cmp::Reverse(**minutes));
    for (code, minutes) in waited.iter().take(6) {
        out.line(format_args!("waited    {:>6} h {code}", *minutes / 60))?;
    }
    print_causes(&report.causes, &report.unnamed, out)
}

type Causes = std::collections::BTreeMap<&'static str, lifeboat::simulate::Named>;

fn print_causes(causes: &Causes, unnamed: &[String], out: &mut Output) -> Result<()> {
    let happened: u64 = causes.values().map(|count| u64::from(count.happened)).sum();
    let named: u64 = causes.values().map(|count| u64::from(count.named)).sum();
    out.line(format_args!(
        "causes    {} came about, {} named by explain",
        grouped(happened),
        grouped(named)
    ))?;
    unnamed
        .iter()
        .try_for_each(|line| out.line(format_args!("unnamed   {line}")))
}

fn print_fleet(sum: &Fleet, out: &mut Output) -> Result<()> {
    let heads = [
        "Life",
        "Phones",
        "Fresh days",
        "Never",
        "Alarms/year",
        "Unmetered",
        "Metered",
        "Roaming",
        "Requests",
    ];
    let mut table = Table::new(&heads, &[1, 2, 3, 4, 5, 6, 7, 8]);
    for (name, life) in &sum.lives {
        let months = f64::from(life.phones) * f64::from(sum.days) / 30.44;
        let monthly = |bytes: u64| Size((bytes as f64 / months) as u64).to_string();
        table.row([
            (*name).to_owned(),
            life.phones.to_string(),
            share(life.fresh_days, life.counted_days),
            life.never.to_string(),
            format!("{:.1}", life.alarms as f64 / months * 12.0),
            monthly(life.bytes[0]),
            monthly(life.bytes[1] + life.bytes[2] + life.bytes[3]),
            monthly(life.bytes[4]),
            format!("{:.0}", life.requests as f64 / months),
        ]);
    }
    out.line(&table)?;
    let (requests, bytes, dollars) = sum.monthly();
    let mean = sum.requests_by_time.iter().sum::<f64>() / sum.requests_by_time.len().max(1) as f64;
    let peak = sum.requests_by_time.iter().copied().fold(0.0, f64::max);
    out.line(format_args!(
        "vault     {mean:.2} requests/s, {peak:.2} in the busiest five minutes of the mean day, {:.2} of any day",
        sum.busiest
    ))?;
    out.line(format_args!(
        "a month   {requests:.0} requests and {} a phone; ${dollars:.4} at ${} for a thousand requests",
        Size(bytes as u64),
        PRICES.thousand_requests
    ))?;
    out.line(format_args!(
        "over      {} over an allowance",
        Size(sum.over_budget_bytes)
    ))?;
    print_causes(&sum.causes, &sum.unnamed, out)
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}
