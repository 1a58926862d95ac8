//! The registry of kinds: one line per kind, in the order a study uses them.

pub mod backbones;
pub mod classifier_evaluate;
pub mod classifier_features;
pub mod classifier_predict;
mod classifier_select;
pub mod classifier_train;
mod cohort_label;
mod cohort_split;
mod dataset_pack;
mod demo_phantom;
mod dicom_import;
mod dicom_render;
mod images_import;
mod images_mask;
mod images_prepare;
mod laid_out;
mod lungs_evaluate;
pub mod lungs_segment;
pub mod lungs_train;
mod npy_import;
pub mod published;
mod report_html;
mod report_table;
mod runs;
mod stats_compare;
#[cfg(test)]
mod testing;
pub mod training;

pub use crate::dicom::codecs::known as codecs;

use crate::stage::Kind;

/// Every built-in kind.
pub static KINDS: &[Kind] = &[
    Kind::whole::<demo_phantom::Phantom>(),
    Kind::map::<dicom_import::DicomImport>(),
    Kind::map::<dicom_render::DicomRender>(),
    Kind::map::<images_import::ImagesImport>(),
    Kind::whole::<npy_import::NpyImport>(),
    Kind::map::<images_prepare::ImagesPrepare>(),
    Kind::torch::<lungs_train::LungsTrain>(),
    Kind::torch_map::<lungs_segment::LungsSegment>(),
    Kind::map::<images_mask::ImagesMask>(),
    Kind::whole::<cohort_label::CohortLabel>(),
    Kind::whole::<cohort_split::CohortSplit>(),
    Kind::whole::<dataset_pack::DatasetPack>(),
    Kind::torch_map::<classifier_features::ClassifierFeatures>(),
    Kind::torch::<classifier_train::ClassifierTrain>(),
    Kind::whole::<classifier_select::ClassifierSelect>(),
    Kind::torch_map::<classifier_predict::ClassifierPredict>(),
    Kind::torch::<classifier_evaluate::ClassifierEvaluate>(),
    Kind::whole::<lungs_evaluate::LungsEvaluate>(),
    Kind::whole::<stats_compare::StatsCompare>(),
    Kind::whole::<report_table::ReportTable>(),
    Kind::whole::<report_html::ReportHtml>(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;

    #[test]
    fn few_kinds_give_less_than_the_level_that_came_in() {
        let lower = KINDS.iter().filter(|kind| kind.at_most < Level::Identified).map(|kind| (kind.name, kind.at_most));
        let allowed = |(name, level): &(&str, Level)| match *level {
            // Figures of many people, those of few hidden.
            Level::Released => name.starts_with("report.") || ["review.release", "stats.compare"].contains(name),
            _ => *name == "dicom.audit",
        };
        let wrong: Vec<_> = lower.filter(|one| !allowed(one)).collect();
        assert!(wrong.is_empty(), "these kinds may not lower a level: {wrong:?}");
        let reports = KINDS.iter().filter(|kind| kind.name.starts_with("report.") && kind.at_most != Level::Released);
        let closed: Vec<&str> = reports.map(|kind| kind.name).collect();
        assert!(closed.is_empty(), "reports hide small counts and may be published: AT_MOST of {closed:?}");
    }

    #[test]
    fn every_revision_after_the_first_says_what_it_changed() {
        for kind in KINDS {
            let told: Vec<u32> = kind.revisions.iter().map(|(revision, _)| *revision).collect();
            assert_eq!(told, (2..=kind.revision).collect::<Vec<u32>>(), "REVISIONS of {}", kind.name);
            assert!(kind.revisions.iter().all(|(_, what)| !what.is_empty()), "REVISIONS of {}", kind.name);
        }
    }
}
