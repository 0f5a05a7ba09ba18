//! What an E-step found: how clusters are distributed, and cards of some of them.

use super::chart::histogram;
use super::words::{counted, percent};
use base64::prelude::{BASE64_STANDARD, Engine};
use maud::{Markup, html};

/// The clusters of a run, or why none are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Clusters {
    /// A sentence.
    None(String),
    /// Those of the newest checkpoint.
    Shown(Shown),
}

/// The clusterings of an E-step, and some clusters of one of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shown {
    /// Epoch, from 1, that the E-step came before.
    pub epoch: usize,
    /// All of its clusterings.
    pub all: Vec<Distribution>,
    /// Which of them the cards are of.
    pub of: usize,
    /// Share of images, between 0 and 1, that are of the commonest class of their cluster; none without
    /// classes.
    pub purity: Option<f64>,
    /// Groups of cards.
    pub sections: Vec<Section>,
    /// What must be known of the pictures, or why there are none: a sentence each.
    pub notes: Vec<String>,
}

/// How one clustering divides the images.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Images of each cluster.
    pub sizes: Vec<usize>,
    /// Concentration φ of each cluster: the temperature of its prototype.
    pub concentration: Vec<f32>,
    /// AMI with the E-step before.
    pub ami_previous: Option<f64>,
}

/// Some clusters under a heading.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// The clusters.
    pub cards: Vec<Card>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// Its number in the checkpoint, from 0.
    pub number: usize,
    /// Its images.
    pub size: usize,
    /// Its concentration φ.
    pub concentration: f32,
    /// Its commonest class; none without classes.
    pub class: Option<ClassShare>,
    /// Images near its prototype, the nearest first.
    pub pictures: Vec<Picture>,
}

/// How many images of a cluster are of a class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassShare {
    /// The class.
    pub name: String,
    /// Share of the cluster's images, between 0 and 1.
    pub share: f64,
}

/// A small image.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// What it is called.
    pub name: String,
    /// The bytes of a JPEG file.
    pub jpeg: Vec<u8>,
}

impl Clusters {
    pub(super) fn section(&self) -> Markup {
        html! {
            section {
                h2 { "Clusters" }
                @match self {
                    Self::None(why) => p { (why) },
                    Self::Shown(shown) => (shown.body()),
                }
            }
        }
    }
}

impl Shown {
    fn body(&self) -> Markup {
        html! {
            p { "Those of the E-step before epoch " (self.epoch)
                ", which the newest checkpoint holds. The concentration φ of a cluster is the temperature of its prototype: small where its images lie close together. It is clipped to percentiles, so that several clusters have the least and the greatest." }
            (self.table())
            @if let Some(of) = self.all.get(self.of) {
                div.charts { (sizes(of)) (concentrations(of)) }
                h3 { "Some of the " (of.sizes.len()) " clusters" }
            }
            @if let Some(purity) = self.purity {
                p { (percent(purity)) " of the images are of the commonest class of their cluster." }
            }
            @for note in &self.notes { p.note { (note) } }
            @for section in &self.sections {
                h3 { (section.title) }
                div.cards { @for card in &section.cards { (card.article()) } }
            }
        }
    }

    fn table(&self) -> Markup {
        let heads = [
            "K",
            "empty",
            "images: least",
            "median",
            "most",
            "φ: least",
            "median",
            "most",
            "AMI to the E-step before",
        ];
        html! {
            div.wide {
                table {
                    thead { tr { @for head in heads { th { (head) } } } }
                    tbody { @for of in &self.all { (row(of)) } }
                }
            }
        }
    }
}

fn row(of: &Distribution) -> Markup {
    let images = spread(of.sizes.iter().map(|size| *size as f64));
    let phi = spread(of.concentration.iter().map(|phi| f64::from(*phi)));
    let empty = of.sizes.iter().filter(|size| **size == 0).count();
    html! {
        tr {
            td { (of.sizes.len()) } td { (empty) }
            @for size in images { td { (format!("{size:.0}")) } }
            @for phi in phi { td { (format!("{phi:.3}")) } }
            td { @match of.ami_previous { Some(ami) => (format!("{ami:.2}")), None => "–" } }
        }
    }
}

/// The least, the upper median and the greatest value; nothing without one.
fn spread(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied();
    let three = [at(0), at(values.len() / 2), values.last().copied()];
    three.into_iter().flatten().collect()
}

fn sizes(of: &Distribution) -> Markup {
    let sizes: Vec<f64> = of.sizes.iter().map(|size| *size as f64).collect();
    let title = format!("Sizes of the {} clusters", of.sizes.len());
    histogram(&title, "images", "clusters", &sizes, true)
}

fn concentrations(of: &Distribution) -> Markup {
    let phi: Vec<f64> = of.concentration.iter().map(|phi| f64::from(*phi)).collect();
    let title = format!("Concentrations φ of the {} clusters", phi.len());
    histogram(&title, "φ", "clusters", &phi, false)
}

impl Card {
    fn article(&self) -> Markup {
        html! {
            article {
                p {
                    b { "Cluster " (self.number) } ": " (counted(self.size, "image"))
                    ", φ " (format!("{:.3}", self.concentration))
                    @if let Some(class) = &self.class {
                        ", " (percent(class.share)) " " bdi { (class.name) }
                    }
                }
                @if !self.pictures.is_empty() {
                    div.pictures { @for picture in &self.pictures { (picture.img()) } }
                }
            }
        }
    }
}

impl Picture {
    fn img(&self) -> Markup {
        let data = BASE64_STANDARD.encode(&self.jpeg);
        html! {
            img src={ "data:image/jpeg;base64," (data) } alt=(self.name) title=(self.name);
        }
    }
}
